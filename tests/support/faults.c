/* Preloaded into a process, makes the system calls of the daemon's loop fail.
 *
 * FAULTS names a file of ints, which this process and the test map: the errno with which each call
 * fails (0: the call goes to the kernel), how many times it still fails, how often it has failed,
 * the clock status that adjtimex reports, the minimum wait for a send buffer, and the port whose
 * sends fail. The order is that of src/faults.rs. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timex.h>
#include <unistd.h>

enum { RECEIVE, SEND, POLL, CLOCK, CALLS };

struct faults {
	int error[CALLS];  /* errno of the failure */
	int left[CALLS];   /* failures still to come; -1: no limit */
	int failed[CALLS]; /* failures so far */
	int clock_status;  /* 0: the kernel's, 1, 2, 3: see ClockStatus */
	int min_send_wait; /* minimum ms of a wait for space in a send buffer, unless a signal ends it */
	int buffer_limit;  /* net.core.rmem_max and wmem_max of an unprivileged process; 0: none */
	int socket_error;  /* errno of socket(2) for the Internet protocols; 0: none */
	int send_port;     /* only sends from this port fail; 0: all */
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

int recvmmsg(int socket, struct mmsghdr *messages, unsigned int count, int flags,
	     struct timespec *timeout)
{
	NEXT(recvmmsg);
	return fails(RECEIVE) ? -1 : next(socket, messages, count, flags, timeout);
}

/* Whether the sends of this socket may fail. */
static int is_chosen(int socket)
{
	struct sockaddr_in6 address = {0}; /* sockaddr_in has the port at the same offset */
	socklen_t length = sizeof address;
	int port = faults()->send_port;
	if (!port)
		return 1;
	return !getsockname(socket, (struct sockaddr *)&address, &length) &&
	       ntohs(address.sin6_port) == port;
}

int sendmmsg(int socket, struct mmsghdr *messages, unsigned int count, int flags)
{
	NEXT(sendmmsg);
	return is_chosen(socket) && fails(SEND) ? -1 : next(socket, messages, count, flags);
}

int ppoll(struct pollfd *descriptors, nfds_t count, const struct timespec *timeout,
	  const sigset_t *mask)
{
	NEXT(ppoll);
	/* The log is not part of the loop. */
	if (count == 1 && descriptors->fd == STDERR_FILENO)
		return next(descriptors, count, timeout, mask);
	/* The send buffer counts as full while sends fail with EAGAIN. */
	if (count == 1 && descriptors->events == POLLOUT && is_chosen(descriptors->fd) &&
	    faults()->left[SEND] && faults()->error[SEND] == EAGAIN) {
		int least = faults()->min_send_wait;
		struct timespec min_wait = {least / 1000, least % 1000 * 1000000L};
		long given = timeout ? timeout->tv_sec * 1000 + timeout->tv_nsec / 1000000 : 0;
		return next(NULL, 0, timeout && given < least ? &min_wait : timeout, mask);
	}
	return fails(POLL) ? -1 : next(descriptors, count, timeout, mask);
}

int socket(int domain, int type, int protocol)
{
	NEXT(socket);
	if ((domain == AF_INET || domain == AF_INET6) && faults()->socket_error) {
		errno = faults()->socket_error;
		return -1;
	}
	return next(domain, type, protocol);
}

int setsockopt(int socket, int level, int name, const void *value, socklen_t length)
{
	NEXT(setsockopt);
	int limit = faults()->buffer_limit;
	if (limit && level == SOL_SOCKET) {
		if (name == SO_RCVBUFFORCE || name == SO_SNDBUFFORCE) {
			errno = EPERM;
			return -1;
		}
		if ((name == SO_RCVBUF || name == SO_SNDBUF) && *(const int *)value > limit)
			return next(socket, level, name, &limit, length);
	}
	return next(socket, level, name, value, length);
}

int adjtimex(struct timex *timex)
{
	NEXT(adjtimex);
	if (fails(CLOCK))
		return -1;
	int state = next(timex);
	/* A process without permission for the call gets the kernel's error. */
	if (state < 0)
		return state;
	switch (faults()->clock_status) {
	case 1:
		timex->status &= ~STA_UNSYNC;
		timex->maxerror = 1500;
		return TIME_OK;
	case 2:
		timex->status |= STA_UNSYNC;
		timex->maxerror = 16000000;
		return TIME_ERROR;
	case 3:
		timex->status |= STA_UNSYNC;
		timex->maxerror = 2500;
		return TIME_ERROR;
	}
	return state;
}
