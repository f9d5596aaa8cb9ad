/* Waits for a time of CLOCK_REALTIME in seconds and then executes a program, as `wallclock --until`
   does with a server of nanoseconds: 8 requests first, one at half of the time that is left, 8
   before the end. It has the system calls for that and nothing else: responses are not looked at. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_in server = {.sin_family = AF_INET};
static double moment;

static double time_left(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return moment - now.tv_sec - now.tv_nsec / 1e9;
}

static void sleep_for(double seconds) {
    if (seconds <= 0)
        return;
    struct timespec time = {.tv_sec = (time_t)seconds};
    time.tv_nsec = (seconds - time.tv_sec) * 1e9;
    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

static void ask(int requests) {
    struct timeval timeout = {.tv_sec = 1};
    char response[64];
    int client = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    connect(client, (struct sockaddr *)&server, sizeof server);
    while (requests-- > 0) {
        send(client, "0123456789abcdef|%s.%N", 22, 0);
        setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        recv(client, response, sizeof response, 0);
    }
    close(client);
}

int main(int count, char **arguments) {
    if (count < 4)
        return 2;
    server.sin_port = htons(atoi(arguments[1]));
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    moment = atof(arguments[2]);
    ask(8);
    while (time_left() > 2) {
        sleep_for(time_left() / 2);
        ask(1);
    }
    sleep_for(time_left() - 0.005);
    ask(8);
    sleep_for(time_left());
    execv(arguments[3], arguments + 3);
    return 127;
}
