/* Preloaded into a process, replaces getaddrinfo for all names that end in `.test`.
 *
 * RESOLVER names a file that holds the address of these names, `fail`, or `hang`: then the call
 * waits until the file holds something else. If NO_THREADS is set, no thread can be created. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
		struct addrinfo **result)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
		dlsym(RTLD_NEXT, "getaddrinfo");
	size_t length = node ? strlen(node) : 0;
	char text[64] = "hang";

	if (length < 5 || strcmp(node + length - 5, ".test") != 0)
		return real(node, service, hints, result);
	while (strcmp(text, "hang") == 0) {
		FILE *file = fopen(getenv("RESOLVER"), "r");

		if (!file || !fgets(text, sizeof text, file))
			abort();
		fclose(file);
		usleep(1000);
	}
	if (strcmp(text, "fail") == 0)
		return EAI_NONAME;
	return real(text, service, hints, result);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
		   void *argument)
{
	int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) =
		dlsym(RTLD_NEXT, "pthread_create");

	return getenv("NO_THREADS") ? EAGAIN : real(thread, attributes, start, argument);
}
