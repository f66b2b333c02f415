/* The load client: one process that opens many WebSockets, publishes to Redis or sends requests,
 * and checks that every client gets every message once and in order.
 *
 * When all connections stand it writes a line of JSON. Each line that it then reads is one run:
 *
 *     SECONDS WINDOW RATE COMMAND   publish COMMAND (a file, or "-" for none), with WINDOW messages
 *                                   under way at a time, or RATE per second
 *
 * and is answered by a line of JSON. Templates are files in which some words are replaced when they
 * are sent, by as many bytes: @@sequence-hex@@, @seq-8b@ (big endian), @prev-8b (one less), @number-10
 * (decimal, from 1,000,000,000 on, because JSON has no leading zeros), and @conn6 (the connection's
 * number in decimal). A message carries "#seq:" and @@sequence-hex@@; a frame may have several.
 *
 * A frame that begins with the contents of the file `answer` is one answer. With "joined 1" the
 * server may join messages in a frame, and each occurrence in it is one.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { RING = 1 << 16, BUFFER = 1 << 20, BUCKETS = 64 * 32, MARKS = 64 };
enum { CONNECTING, ASKING, OPEN };

static const uint64_t TIMER = 1ull << 62, PUBLISHER = 1ull << 63;
static const uint64_t CONNECT_NS = 120000000000, WARM_UP_NS = 30000000000, DRAIN_NS = 20000000000, OVERLOAD_NS = 250000000;

typedef struct { char *bytes; size_t size; } Blob;
typedef struct { size_t at; int kind; } Mark;
typedef struct { Blob text; Mark marks[MARKS]; int count; } Template;
typedef struct {
    int fd, state, ready;
    uint64_t last, sent, answered;
    char *rest, *out;
    size_t rest_size, out_size;
} Client;

static const struct { const char *word; size_t size; } WORDS[] = {
    {"@@sequence-hex@@", 16}, {"@seq-8b@", 8}, {"@prev-8b", 8}, {"@conn6", 6}, {"@number-10", 10}};
enum { HEX, BYTES, BEFORE, CONNECTION, DECIMAL, KINDS };
static const uint64_t FIRST_DECIMAL = 1000000000;

static int port, redis_port, count, parallel = 64, each, publisher = -1;
static Template request, opening, command, call;
static Blob ready_mark, answer_mark;
static Client *clients;
static int epoll, opened, standing, closed;
static uint64_t published, completed, deliveries, answers, errors, others, bytes, reads;
static uint64_t sent_at[RING], histogram[BUCKETS];
static uint32_t received[RING];
static char buffer[BUFFER + BUFFER], *queued;
static size_t queued_size;
static int strict, asking, joined;

static void fail(const char *what) {
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static Blob read_file(const char *path) {
    Blob blob = {NULL, 0};
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    fseek(file, 0, SEEK_END);
    blob.size = (size_t)ftell(file);
    rewind(file);
    blob.bytes = malloc(blob.size + 1);
    if (fread(blob.bytes, 1, blob.size, file) != blob.size) fail(path);
    fclose(file);
    return blob;
}

static Template read_template(const char *path) {
    Template made = {read_file(path), {{0, 0}}, 0};
    for (int kind = 0; kind < KINDS; kind++) {
        char *at = made.text.bytes, *end = at + made.text.size;
        while ((at = memmem(at, (size_t)(end - at), WORDS[kind].word, WORDS[kind].size))) {
            if (made.count == MARKS) fail("too many words to replace");
            made.marks[made.count++] = (Mark){(size_t)(at - made.text.bytes), kind};
            at += WORDS[kind].size;
        }
    }
    return made;
}

static Blob fill(Template *from, uint64_t sequence, int connection) {
    for (int i = 0; i < from->count; i++) {
        char *at = from->text.bytes + from->marks[i].at, text[20];
        int kind = from->marks[i].kind;
        if (kind == HEX) snprintf(text, sizeof text, "%016llx", (unsigned long long)sequence);
        if (kind == CONNECTION) snprintf(text, sizeof text, "%06d", connection);
        if (kind == DECIMAL)
            snprintf(text, sizeof text, "%llu", (unsigned long long)(FIRST_DECIMAL + sequence));
        uint64_t number = __builtin_bswap64(kind == BEFORE ? sequence - 1 : sequence);
        int binary = kind == BYTES || kind == BEFORE;
        memcpy(at, binary ? (char *)&number : text, WORDS[kind].size);
    }
    return from->text;
}

static int bucket(uint64_t ns) { /* 32 buckets for each doubling: within 3 % */
    if (ns < 32) return (int)ns;
    int top = 63 - __builtin_clzll(ns);
    int index = (top - 4) * 32 + (int)((ns >> (top - 5)) & 31);
    return index < BUCKETS ? index : BUCKETS - 1;
}

static double bucket_us(int index) {
    if (index < 32) return index / 1e3;
    int top = index / 32 + 4;
    return (double)((uint64_t)(32 + index % 32) << (top - 5)) / 1e3;
}

static double percentile(double part) {
    uint64_t total = 0, seen = 0;
    for (int i = 0; i < BUCKETS; i++) total += histogram[i];
    for (int i = 0; i < BUCKETS; i++)
        if ((seen += histogram[i]) >= part * (double)total && total) return bucket_us(i);
    return 0;
}

/* Redis */

static void flush_publisher(void) {
    while (queued_size) {
        ssize_t done = write(publisher, queued, queued_size);
        if (done < 0 && errno == EAGAIN) break;
        if (done < 0) fail("writing to Redis");
        memmove(queued, queued + done, queued_size - (size_t)done);
        queued_size -= (size_t)done;
    }
    struct epoll_event event = {EPOLLIN | (queued_size ? EPOLLOUT : 0), {.u64 = PUBLISHER}};
    epoll_ctl(epoll, EPOLL_CTL_MOD, publisher, &event);
}

static void publish(int messages) {
    for (int i = 0; i < messages; i++) {
        published++;
        sent_at[published % RING] = now();
        received[published % RING] = 0;
        Blob made = fill(&command, published, 0);
        queued = realloc(queued, queued_size + made.size);
        memcpy(queued + queued_size, made.bytes, made.size);
        queued_size += made.size;
    }
    flush_publisher();
}

static void read_publisher(void) {
    ssize_t size = read(publisher, buffer, BUFFER);
    if (size == 0) fail("Redis closed the connection");
    if (size > 0 && (buffer[0] == '-' || memmem(buffer, (size_t)size, "\n-", 2))) {
        fprintf(stderr, "load: Redis refused: %.*s\n", (int)size, buffer);
        exit(1);
    }
}

static void connect_publisher(void) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)redis_port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    publisher = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(publisher, (struct sockaddr *)&to, sizeof to)) fail("connecting to Redis");
    int yes = 1;
    setsockopt(publisher, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    fcntl(publisher, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {EPOLLIN, {.u64 = PUBLISHER}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, publisher, &event);
}

/* Clients */

static void send_all(Client *client, const char *data, size_t size) {
    if (!client->out_size) {
        ssize_t done = write(client->fd, data, size);
        if (done < 0 && errno != EAGAIN) done = (ssize_t)size; /* its end is seen by reading */
        if (done > 0) data += done, size -= (size_t)done;
    }
    if (size) {
        client->out = realloc(client->out, client->out_size + size);
        memcpy(client->out + client->out_size, data, size);
        client->out_size += size;
        struct epoll_event event = {EPOLLIN | EPOLLOUT, {.u64 = (uint64_t)(client - clients)}};
        epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event);
    }
}

static void go_on_sending(Client *client) {
    char *held = client->out;
    size_t size = client->out_size;
    client->out = NULL, client->out_size = 0;
    struct epoll_event event = {EPOLLIN, {.u64 = (uint64_t)(client - clients)}};
    epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event);
    if (size) send_all(client, held, size);
    free(held);
}

static void open_next(void) {
    if (opened == count) return;
    Client *client = &clients[opened];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (client->fd < 0) fail("opening a socket");
    int yes = 1;
    setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(client->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS)
        fail("connecting");
    struct epoll_event event = {EPOLLOUT, {.u64 = (uint64_t)opened++}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event);
}

static void stands(Client *client) {
    if (client->ready) return;
    client->ready = 1;
    standing++;
    open_next();
}

static void ask_more(Client *client) {
    while (client->sent - client->answered < (uint64_t)each) {
        Blob made = fill(&call, ++client->sent, (int)(client - clients));
        send_all(client, made.bytes, made.size);
    }
}

static void take_sequence(Client *client, const char *text, uint64_t at) {
    uint64_t sequence = 0;
    for (int i = 0; i < 16; i++) {
        char c = text[i];
        sequence = sequence << 4 | (uint64_t)(c <= '9' ? c - '0' : (c | 32) - 'a' + 10);
    }
    if (strict) {
        if (sequence != client->last + 1) errors++;
        deliveries++;
        histogram[bucket(at - sent_at[sequence % RING])]++;
        received[sequence % RING]++;
    }
    client->last = sequence;
}

static int take_sequences(Client *client, const char *data, size_t size, uint64_t at) {
    const char *end = data + size;
    int found = 0;
    while ((data = memmem(data, (size_t)(end - data), "#seq:", 5)) && data + 21 <= end) {
        take_sequence(client, data + 5, at);
        data += 21;
        found++;
    }
    return found;
}

static int count_answers(const char *data, size_t size) {
    const char *end = data + size;
    int found = 0;
    if (!answer_mark.size || size < answer_mark.size) return 0;
    if (!joined) return !memcmp(data, answer_mark.bytes, answer_mark.size);
    while ((data = memmem(data, (size_t)(end - data), answer_mark.bytes, answer_mark.size))) {
        data += answer_mark.size;
        found++;
    }
    return found;
}

static void take_messages(Client *client, const char *data, size_t size, uint64_t at) {
    int numbered = take_sequences(client, data, size, at), answered = count_answers(data, size);
    client->answered += (uint64_t)answered;
    answers += (uint64_t)answered;
    if (answered && asking) ask_more(client);
    if (!numbered && !answered) others++;
}

static void take_frame(Client *client, int opcode, const char *data, size_t size, uint64_t at) {
    if (opcode == 9) send_all(client, "\x8a\x80\0\0\0\0", 6);
    else if (opcode == 1 && size == 1 && *data == '2') /* pings of Socket.IO and of Centrifugo */
        send_all(client, "\x81\x81\0\0\0\0" "3", 7);
    else if (opcode == 1 && size == 2 && !memcmp(data, "{}", 2))
        send_all(client, "\x81\x82\0\0\0\0{}", 8);
    else take_messages(client, data, size, at);
    if (!client->ready && memmem(data, size, ready_mark.bytes, ready_mark.size)) stands(client);
}

static size_t take_head(Client *client, const char *data, size_t size) {
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (!end) return 0;
    if (memcmp(data, "HTTP/1.1 101", 12)) {
        fprintf(stderr, "load: refused: %.*s\n", (int)size, data);
        exit(1);
    }
    client->state = OPEN;
    Blob made = fill(&opening, 0, (int)(client - clients));
    if (made.size) send_all(client, made.bytes, made.size);
    if (!ready_mark.size) stands(client);
    return (size_t)(end + 4 - data);
}

static size_t take(Client *client, const char *data, size_t size) {
    size_t used = 0;
    uint64_t at = now();
    if (client->state == ASKING) used = take_head(client, data, size);
    while (client->state == OPEN && size - used >= 2) {
        const unsigned char *head = (const unsigned char *)data + used;
        size_t header = 2, length = head[1];
        if (length == 126) header = 4;
        if (length == 127) header = 10;
        if (size - used < header) break;
        if (header > 2) {
            length = 0;
            for (size_t i = 2; i < header; i++) length = length << 8 | head[i];
        }
        if (size - used < header + length) break;
        take_frame(client, head[0] & 15, data + used + header, length, at);
        used += header + length;
    }
    return used;
}

static void read_client(Client *client) {
    memcpy(buffer, client->rest, client->rest_size);
    ssize_t size = read(client->fd, buffer + client->rest_size, BUFFER);
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
        epoll_ctl(epoll, EPOLL_CTL_DEL, client->fd, NULL);
        closed++;
        return;
    }
    reads++;
    bytes += (uint64_t)size;
    size_t whole = client->rest_size + (size_t)size, used = take(client, buffer, whole);
    free(client->rest);
    client->rest = NULL;
    if ((client->rest_size = whole - used)) {
        client->rest = malloc(client->rest_size);
        memcpy(client->rest, buffer + used, client->rest_size);
    }
}

static void step(int timeout_ms) {
    static struct epoll_event events[512];
    int found = epoll_wait(epoll, events, 512, timeout_ms);
    for (int i = 0; i < found; i++) {
        uint64_t who = events[i].data.u64, ticks;
        if (who == PUBLISHER) {
            if (events[i].events & EPOLLIN) read_publisher();
            if (events[i].events & EPOLLOUT) flush_publisher();
        } else if (who & TIMER) {
            if (read((int)(who ^ TIMER), &ticks, sizeof ticks) == sizeof ticks) publish((int)ticks);
        } else if (clients[who].state == CONNECTING) {
            int error = 0;
            socklen_t size = sizeof error;
            getsockopt(clients[who].fd, SOL_SOCKET, SO_ERROR, &error, &size);
            if (error) errno = error, fail("connecting");
            clients[who].state = ASKING;
            struct epoll_event event = {EPOLLIN, {.u64 = who}};
            epoll_ctl(epoll, EPOLL_CTL_MOD, clients[who].fd, &event);
            Blob made = fill(&request, 0, (int)who);
            send_all(&clients[who], made.bytes, made.size);
        } else {
            if (events[i].events & EPOLLOUT) go_on_sending(&clients[who]);
            if (events[i].events & ~(uint32_t)EPOLLOUT) read_client(&clients[who]);
        }
    }
    while (completed < published && received[(completed + 1) % RING] >= (uint32_t)count) completed++;
}

/* What it does */

static void warm_up(void) { /* until every client hears what is published */
    uint64_t again = 0, pause = 100000000, give_up = now() + WARM_UP_NS;
    int hear = 0;
    while (hear < count) {
        if (now() >= again) publish(1), again = now() + pause, pause *= 2;
        step(5);
        hear = 0;
        for (int i = 0; i < count; i++) hear += clients[i].last == published;
        if (now() > give_up || closed) {
            fprintf(stderr, "load: %d of %d clients hear what is published\n", hear, count);
            exit(1);
        }
    }
    completed = published;
}

static int start_timer(double rate) {
    long period = (long)(1e9 / rate);
    struct itimerspec every = {{period / 1000000000, period % 1000000000}, {0, 1}};
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    timerfd_settime(timer, 0, &every, NULL);
    struct epoll_event event = {EPOLLIN, {.u64 = (uint64_t)timer | TIMER}};
    epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &event);
    return timer;
}

static double cpu(void) {
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void parse(int arguments, char **values) {
    for (int i = 1; i + 1 < arguments; i += 2) {
        char *name = values[i], *value = values[i + 1];
        if (!strcmp(name, "port")) port = atoi(value);
        else if (!strcmp(name, "redis")) redis_port = atoi(value);
        else if (!strcmp(name, "clients")) count = atoi(value);
        else if (!strcmp(name, "parallel")) parallel = atoi(value);
        else if (!strcmp(name, "each")) each = atoi(value);
        else if (!strcmp(name, "joined")) joined = atoi(value);
        else if (!strcmp(name, "request")) request = read_template(value);
        else if (!strcmp(name, "opening")) opening = read_template(value);
        else if (!strcmp(name, "call")) call = read_template(value);
        else if (!strcmp(name, "ready")) ready_mark = read_file(value);
        else if (!strcmp(name, "answer")) answer_mark = read_file(value);
        else fail(name);
    }
}

static void connect_all(void) {
    uint64_t began = now();
    for (int i = 0; i < parallel; i++) open_next();
    while (standing < count && !closed && now() - began < CONNECT_NS) step(1000);
    if (standing < count) {
        fprintf(stderr, "load: %d of %d stand, %d were closed\n", standing, count, closed);
        exit(1);
    }
    printf("{\"seconds\": %.4f, \"cpu_s\": %.4f, \"bytes\": %llu}\n", (double)(now() - began) / 1e9,
           cpu(), (unsigned long long)bytes);
    fflush(stdout);
}

static int hopeless(void) { /* more comes than is delivered, at a fixed rate */
    uint64_t behind = published - completed;
    return behind >= RING / 2 ||
           (behind > 64 && now() - sent_at[(completed + 1) % RING] > OVERLOAD_NS);
}

static void run(double seconds, int window, double rate) {
    int overloaded = 0;
    uint64_t first = published, wanted;
    memset(histogram, 0, sizeof histogram);
    strict = 1;
    deliveries = answers = errors = others = bytes = reads = 0;
    double cpu_began = cpu();
    uint64_t began = now(), end = began + (uint64_t)(seconds * 1e9);
    int timer = rate > 0 ? start_timer(rate) : -1;
    asking = call.text.size > 0;
    for (int i = 0; asking && i < count; i++) ask_more(&clients[i]);
    while (now() < end && !(rate > 0 && (overloaded = hopeless()))) {
        int free_places = window - (int)(published - completed);
        if (free_places > 0) publish(free_places);
        step(10);
    }
    double took = (double)(now() - began) / 1e9, busy = cpu() - cpu_began;
    uint64_t in_time = deliveries, answered = answers, came = bytes, read_in_time = reads;
    if (timer >= 0) close(timer);
    asking = 0;
    for (end = now() + DRAIN_NS; completed < published && now() < end;) step(10);
    wanted = command.text.size ? (published - first) * (uint64_t)count : deliveries;
    printf("{\"seconds\": %.4f, \"cpu_s\": %.4f, \"messages\": %llu, \"deliveries\": %llu, "
           "\"answers\": %llu, \"bytes\": %llu, \"reads\": %llu, \"others\": %llu, "
           "\"disorder\": %llu, \"missing\": %lld, \"closed\": %d, \"overloaded\": %d, "
           "\"p50_us\": %.1f, \"p99_us\": %.1f}\n",
           took, busy, (unsigned long long)(published - first), (unsigned long long)in_time,
           (unsigned long long)answered, (unsigned long long)came,
           (unsigned long long)read_in_time, (unsigned long long)others,
           (unsigned long long)errors, (long long)(wanted - deliveries), closed, overloaded,
           percentile(.5), percentile(.99));
    fflush(stdout);
}

int main(int arguments, char **values) {
    char line[4096], path[4096];
    int window, warm = 0;
    double seconds, rate;
    parse(arguments, values);
    signal(SIGPIPE, SIG_IGN);
    clients = calloc((size_t)count, sizeof *clients);
    epoll = epoll_create1(0);
    if (redis_port) connect_publisher();
    connect_all();
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%lf %d %lf %4095s", &seconds, &window, &rate, path) != 4) fail(line);
        if (strcmp(path, "-")) command = read_template(path);
        if (command.text.size && !warm) warm_up(), warm = 1;
        run(seconds, window, rate);
    }
    return 0;
}
