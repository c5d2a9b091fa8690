/* Has a thread of a program stand still for ever (LD_PRELOAD), wherever it is: the one whose number is in the file that
 * HUNG_THREAD names, when the program is sent signal 50. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { HANG = 50 };

static void hang(int number) {
    char text[16] = "";
    int file = open(getenv("HUNG_THREAD"), O_RDONLY);
    if (file >= 0) {
        if (read(file, text, sizeof text - 1) < 0)
            text[0] = 0;
        close(file);
    }
    pid_t thread = atoi(text);
    /* The kernel chooses who hears of a signal to a process. */
    if (thread != syscall(SYS_gettid)) {
        syscall(SYS_tgkill, getpid(), thread, number);
        return;
    }
    for (;;)
        usleep(1000);
}

__attribute__((constructor)) static void begin(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = hang;
    action.sa_flags = SA_RESTART;
    sigaction(HANG, &action, NULL);
}
