/* A failing kernel for one process: preloaded, it makes the system calls of the daemon's loop fail as a file says.
 *
 * FAULTS names a file of ints, mapped and shared with the test: the errno each call returns (0: the call is made as it is),
 * how often it has failed, and adjtimex's answer. See tests/support/faults.rs for the order. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timex.h>

enum { RECEIVE, SEND, POLL, CLOCK, CALLS };

struct faults {
	int error[CALLS];  /* errno to fail with */
	int left[CALLS];   /* so many times; -1: for ever */
	int failed[CALLS]; /* so often it has */
	int discipline;    /* 0: ask the kernel, 1: synchronised, 2: not */
	int stretch;       /* the least ms of a wait for room in a send buffer that no signal ends */
};

static volatile struct faults *faults(void)
{
	static volatile struct faults *mapped;
	if (!mapped) {
		const char *path = getenv("FAULTS");
		int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
		if (file < 0)
			abort();
		mapped = mmap(NULL, sizeof *mapped, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
		if (mapped == MAP_FAILED)
			abort();
	}
	return mapped;
}

static int fails(int call)
{
	volatile struct faults *f = faults();
	if (!f->error[call] || !f->left[call])
		return 0;
	if (f->left[call] > 0)
		f->left[call]--;
	f->failed[call]++;
	errno = f->error[call];
	return 1;
}

#define NEXT(name) \
	static __typeof__(&name) next; \
	if (!next) \
		next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

int recvmmsg(int socket, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *patience)
{
	NEXT(recvmmsg);
	return fails(RECEIVE) ? -1 : next(socket, messages, count, flags, patience);
}

int sendmmsg(int socket, struct mmsghdr *messages, unsigned int count, int flags)
{
	NEXT(sendmmsg);
	return fails(SEND) ? -1 : next(socket, messages, count, flags);
}

int ppoll(struct pollfd *descriptors, nfds_t count, const struct timespec *timeout, const sigset_t *mask)
{
	NEXT(ppoll);
	/* A send buffer that is full stays so while sends fail for it. */
	if (count == 1 && descriptors->events == POLLOUT && faults()->left[SEND] && faults()->error[SEND] == EAGAIN) {
		int least = faults()->stretch;
		struct timespec stretched = {least / 1000, least % 1000 * 1000000L};
		long given = timeout ? timeout->tv_sec * 1000 + timeout->tv_nsec / 1000000 : 0;
		return next(NULL, 0, timeout && given < least ? &stretched : timeout, mask);
	}
	return fails(POLL) ? -1 : next(descriptors, count, timeout, mask);
}

int adjtimex(struct timex *about)
{
	NEXT(adjtimex);
	if (fails(CLOCK))
		return -1;
	int state = next(about);
	/* Who may not ask the kernel hears nothing from us either. */
	if (state < 0)
		return state;
	switch (faults()->discipline) {
	case 1:
		about->status &= ~STA_UNSYNC;
		about->maxerror = 1500;
		return TIME_OK;
	case 2:
		about->status |= STA_UNSYNC;
		return TIME_ERROR;
	}
	return state;
}
