/* Sleeps until a time of CLOCK_REALTIME in seconds, then executes a program: the least that any
   program does which starts another one at a moment. */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **arguments) {
    if (count < 3)
        return 2;
    struct timespec moment = {.tv_sec = atoll(arguments[1])};
    while (clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &moment, NULL) != 0)
        continue;
    execv(arguments[2], arguments + 2);
    return 127;
}
