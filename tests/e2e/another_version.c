/* A program that is started as a new version in place of a server: it says with READS, the version of the snapshot that it reads,
 * that it is ready (ToKeeper::Ready, the first of what a server says), and ends with status 3 when it is told to begin
 * (ToServer::Begin, the fourth of what a server is told).
 *
 * With CARRIES it says before that it goes on with connections, in this version of them (ToKeeper::Carries, the tenth). With TAKES
 * it takes so many of each shard (ToServer::Take, the eighth, with a socket beside it) before it ends; with HANGS it does not end.
 *
 * With SILENT it says nothing, and ends with its keeper.
 *
 * With FORGETS, the path of a program, it is that program, which is not told that its keeper knows of connections that go on. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef TAKES
/* What is beside a message that came over a socket, at most so many descriptors. */
static int take(int from, int *into, int most) {
    unsigned char said[65536], space[CMSG_SPACE(253 * sizeof(int))];
    struct iovec where = {said, sizeof said};
    struct msghdr message = {.msg_iov = &where, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (recvmsg(from, &message, 0) <= 0)
        return -1;
    struct cmsghdr *beside = CMSG_FIRSTHDR(&message);
    int count = beside ? (beside->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;
    if (count > most)
        count = most;
    if (count > 0)
        memcpy(into, CMSG_DATA(beside), count * sizeof(int));
    into[most] = said[0];
    return count;
}
#endif

int main(int count, char **words) {
    (void)count;
#ifdef FORGETS
    unsetenv("_ROADSTEAD_KEEPER_CARRIES");
    execv(FORGETS, words);
#endif
    (void)words;
#ifdef SILENT
    static unsigned char heard[65536];
    while (recv(0, heard, sizeof heard, 0) > 0) {
    }
    return 1;
#endif
    const unsigned char ready[] = {0, READS};
#ifdef CARRIES
    const unsigned char carries[] = {9, CARRIES};
    if (send(0, carries, sizeof carries, MSG_NOSIGNAL) < 0)
        return 1;
#endif
    if (send(0, ready, sizeof ready, MSG_NOSIGNAL) < 0)
        return 1;
#ifdef TAKES
    static int beside[254], sockets[254];
    for (;;) {
        int count = take(0, beside, 253);
        if (count < 0)
            return 1;
        if (beside[253] == 3)
            break;
        if (beside[253] == 7 && count == 1) {
            const unsigned char asked[8] = {0, 0, 0, 0, TAKES, 0, 0, 0};
            if (send(beside[0], asked, sizeof asked, MSG_NOSIGNAL) < 0 || take(beside[0], sockets, 253) < 0)
                return 1;
        }
    }
#else
    static unsigned char said[65536];
    do {
        if (recv(0, said, sizeof said, 0) <= 0)
            return 1;
    } while (said[0] != 3);
#endif
#ifdef HANGS
    for (;;)
        pause();
#endif
    return 3;
}
