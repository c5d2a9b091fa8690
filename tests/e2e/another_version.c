/* A program that is started as a new version in place of a server: it says with READS, the version of the snapshot that it reads,
 * that it is ready (ToKeeper::Ready, the first of what a server says), and ends with status 3 when it is told to begin
 * (ToServer::Begin, the fourth of what a server is told). */
#include <sys/socket.h>

int main(void) {
    const unsigned char ready[] = {0, READS};
    static unsigned char said[65536];
    if (send(0, ready, sizeof ready, MSG_NOSIGNAL) < 0)
        return 1;
    do {
        if (recv(0, said, sizeof said, 0) <= 0)
            return 1;
    } while (said[0] != 3);
    return 3;
}
