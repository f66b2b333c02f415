/* The usual limit: for each message from Redis one write() per socket, in a loop.
 *
 * cloop PORT REDIS_PORT CHANNEL   passes on what is published
 * cloop PORT drain CLIENTS        once so many are connected, writes to all as fast as they read
 *
 * The answer to a handshake is not computed, as the load client does not check it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST = 65536, SIZE = 1 << 20 };

static int sockets[MOST], members;
static char frame[SIZE], input[SIZE];
static size_t have;

static int tcp(int port, int listening) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (listening ? bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 4096)
                  : connect(fd, (struct sockaddr *)&at, sizeof at)) {
        perror("cloop");
        exit(1);
    }
    return fd;
}

static void welcome(int fd) {
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                 "Connection: Upgrade\r\nSec-WebSocket-Accept: -\r\n\r\n";
    char request[4096];
    int yes = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (read(fd, request, sizeof request) > 0 && write(fd, answer, sizeof answer - 1) > 0)
        sockets[members++] = fd;
    else
        close(fd);
}

static void send_to_all(const char *data, size_t size) {
    for (int i = 0; i < members; i++)
        if (sockets[i] >= 0 && write(sockets[i], data, size) < 0) {
            close(sockets[i]);
            sockets[i] = -1;
        }
}

static size_t put_header(char *at, size_t size) {
    at[0] = (char)0x82;
    if (size < 126) return at[1] = (char)size, 2;
    at[1] = 126, at[2] = (char)(size >> 8), at[3] = (char)size;
    return 4;
}

/* A pub/sub message: *3, $7, message, $n, channel, $n, payload. Returns its size, or 0. */
static size_t take(const char *data, size_t size) {
    const char *at = data, *end = data + size;
    size_t length = 0;
    for (int part = 0; part < 4; part++) {
        const char *line = memchr(at, '\n', (size_t)(end - at));
        if (!line) return 0;
        if (part) length = strtoul(at + 1, NULL, 10);
        at = line + 1;
        if (part == 0) continue;
        if ((size_t)(end - at) < length + 2) return 0;
        if (part == 3) {
            size_t header = put_header(frame, length);
            memcpy(frame + header, at, length);
            send_to_all(frame, header + length);
        }
        at += length + 2;
        if (part == 3) break;
    }
    return (size_t)(at - data);
}

static void drain(int listener, int wanted) {
    enum { JOINED = 64, PAYLOAD = 200 };
    while (members < wanted) welcome(accept(listener, NULL, NULL));
    char *all = malloc(JOINED * (PAYLOAD + 4));
    for (uint64_t sequence = 1;;) {
        size_t size = 0;
        for (int i = 0; i < JOINED; i++) {
            char *at = all + size, text[24];
            size_t header = put_header(at, PAYLOAD);
            memset(at + header, '.', PAYLOAD);
            snprintf(text, sizeof text, "#seq:%016llx", (unsigned long long)sequence++);
            memcpy(at + header, text, 21);
            size += header + PAYLOAD;
        }
        send_to_all(all, size);
    }
}

int main(int arguments, char **values) {
    if (arguments != 4) return 2;
    signal(SIGPIPE, SIG_IGN);
    int listener = tcp(atoi(values[1]), 1);
    if (!strcmp(values[2], "drain")) drain(listener, atoi(values[3]));
    int redis = tcp(atoi(values[2]), 0);
    dprintf(redis, "*2\r\n$9\r\nSUBSCRIBE\r\n$%zu\r\n%s\r\n", strlen(values[3]), values[3]);
    ssize_t got = read(redis, input, SIZE); /* the confirmation */
    struct pollfd ready[2] = {{listener, POLLIN, 0}, {redis, POLLIN, 0}};
    while (got > 0 && poll(ready, 2, -1) > 0) {
        if (ready[0].revents) welcome(accept(listener, NULL, NULL));
        if (!ready[1].revents) continue;
        if ((got = read(redis, input + have, SIZE - have)) <= 0) break;
        have += (size_t)got;
        size_t used = 0, size;
        while ((size = take(input + used, have - used))) used += size;
        memmove(input, input + used, have -= used);
    }
    return 1;
}
