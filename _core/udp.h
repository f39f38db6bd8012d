/* The system calls of datagrams.pyx, and what stands for them where there are none.
 *
 * MPG_NATIVE=0 is what Windows has: none of these calls, so that the socket module is used.
 * MPG_RUNS=0 is what macOS and the BSDs have: these calls, but no runs. Either can be asked for
 * with -D, which is how the tests see them on Linux. */
#ifndef MPG_NATIVE
#ifdef _WIN32
#define MPG_NATIVE 0
#else
#define MPG_NATIVE 1
#endif
#endif

#if !MPG_NATIVE
#define MPG_RUNS 0
typedef int mpg_address;
static int mpg_receive(int fd, char *d, size_t n, mpg_address *f, size_t *s)
    { (void)fd; (void)d; (void)n; (void)f; (void)s; return -1; }
static int mpg_send(int fd, const char *d, size_t n, const mpg_address *t)
    { (void)fd; (void)d; (void)n; (void)t; return -1; }
static int mpg_send_run(int fd, char **d, size_t *n, int c, size_t s, const mpg_address *t)
    { (void)fd; (void)d; (void)n; (void)c; (void)s; (void)t; return -1; }
static int mpg_enable_runs(int fd) { (void)fd; return 0; }
static size_t mpg_address_size(const mpg_address *a) { (void)a; return 0; }
static int mpg_make_address(mpg_address *a, const char *h, int p, unsigned f, unsigned s)
    { (void)a; (void)h; (void)p; (void)f; (void)s; return 0; }
static int mpg_read_address(const mpg_address *a, char *h, int *p, unsigned *f, unsigned *s)
    { (void)a; (void)h; (void)p; (void)f; (void)s; return 0; }
static int mpg_spin(int fd, double s) { (void)fd; (void)s; return 0; }
static int mpg_would_block(int e) { (void)e; return 0; }
static int mpg_refused(int e) { (void)e; return 0; }
static int mpg_never_runs(int e) { (void)e; return 0; }
static int mpg_error(void) { return 0; }
#else
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#ifndef MPG_RUNS
#ifdef __linux__
#define MPG_RUNS 1
#else
#define MPG_RUNS 0
#endif
#endif
#if MPG_RUNS
#ifndef SOL_UDP
#define SOL_UDP 17
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
/* Room for the one note that tells the size of a datagram, aligned as notes must be. */
typedef union {
    struct cmsghdr note;
    char room[CMSG_SPACE(sizeof(int))];
} mpg_control;
#endif

typedef union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} mpg_address;

static size_t mpg_address_size(const mpg_address *a)
{
    return a->any.sa_family == AF_INET6 ? sizeof a->v6 : sizeof a->v4;
}

/* Bytes read, or -1. `segment` is the size of each datagram in the piece, 0 for just one. */
static int mpg_receive(int fd, char *data, size_t size, mpg_address *from, size_t *segment)
{
    struct iovec part = {data, size};
    struct msghdr message;
    int received;
#if MPG_RUNS
    mpg_control control;
    struct cmsghdr *note;
#endif
    memset(&message, 0, sizeof message);
    if (from != NULL) {
        memset(from, 0, sizeof *from);
        message.msg_name = from;
        message.msg_namelen = sizeof *from;
    }
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    *segment = 0;
#if MPG_RUNS
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
#endif
    received = (int)recvmsg(fd, &message, 0);
#if MPG_RUNS
    note = received > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (note != NULL && note->cmsg_level == SOL_UDP && note->cmsg_type == UDP_GRO) {
        int value;
        memcpy(&value, CMSG_DATA(note), sizeof value);
        *segment = value > 0 ? (size_t)value : 0;
    }
#endif
    return received;
}

static double mpg_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Look again and again, for so long, whether a read would find something: 1 when it would. */
static int mpg_spin(int fd, double seconds)
{
    double end = mpg_seconds() + seconds;
    struct pollfd look = {fd, POLLIN, 0};
    do {
        if (poll(&look, 1, 0) > 0)
            return 1;
    } while (mpg_seconds() < end);
    return 0;
}

static int mpg_send(int fd, const char *data, size_t size, const mpg_address *to)
{
    if (to == NULL)
        return (int)send(fd, data, size, 0);
    return (int)sendto(fd, data, size, 0, &to->any, (socklen_t)mpg_address_size(to));
}

static int mpg_send_run(int fd, char **data, size_t *sizes, int count, size_t size,
                        const mpg_address *to)
{
#if MPG_RUNS
    mpg_control control;
    struct iovec parts[64];
    struct msghdr message;
    struct cmsghdr *note;
    uint16_t segment = (uint16_t)size;
    int i;
    for (i = 0; i < count; i++) {
        parts[i].iov_base = data[i];
        parts[i].iov_len = sizes[i];
    }
    memset(&message, 0, sizeof message);
    memset(&control, 0, sizeof control);
    if (to != NULL) {
        message.msg_name = (void *)&to->any;
        message.msg_namelen = (socklen_t)mpg_address_size(to);
    }
    message.msg_iov = parts;
    message.msg_iovlen = (size_t)count;
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(sizeof segment);
    note = CMSG_FIRSTHDR(&message);
    note->cmsg_level = SOL_UDP;
    note->cmsg_type = UDP_SEGMENT;
    note->cmsg_len = CMSG_LEN(sizeof segment);
    memcpy(CMSG_DATA(note), &segment, sizeof segment);
    return (int)sendmsg(fd, &message, 0);
#else
    (void)fd; (void)data; (void)sizes; (void)count; (void)size; (void)to;
    errno = ENOSYS;
    return -1;
#endif
}

/* True when the kernel hands over whole runs from here on; it cuts them up itself otherwise. */
static int mpg_enable_runs(int fd)
{
#if MPG_RUNS
    int on = 1;
    return setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on) == 0;
#else
    (void)fd;
    return 0;
#endif
}

static int mpg_make_address(mpg_address *a, const char *host, int port, unsigned flow,
                            unsigned scope)
{
    memset(a, 0, sizeof *a);
    if (inet_pton(AF_INET, host, &a->v4.sin_addr) == 1) {
        a->v4.sin_family = AF_INET;
        a->v4.sin_port = htons((uint16_t)port);
        return 1;
    }
    if (inet_pton(AF_INET6, host, &a->v6.sin6_addr) != 1)
        return 0;
    a->v6.sin6_family = AF_INET6;
    a->v6.sin6_port = htons((uint16_t)port);
    a->v6.sin6_flowinfo = htonl(flow);
    a->v6.sin6_scope_id = scope;
    return 1;
}

/* 4 or 6, for the version of IP; `host` has room for INET6_ADDRSTRLEN. */
static int mpg_read_address(const mpg_address *a, char *host, int *port, unsigned *flow,
                            unsigned *scope)
{
    if (a->any.sa_family == AF_INET) {
        *port = ntohs(a->v4.sin_port);
        return inet_ntop(AF_INET, &a->v4.sin_addr, host, INET6_ADDRSTRLEN) ? 4 : 0;
    }
    *port = ntohs(a->v6.sin6_port);
    *flow = ntohl(a->v6.sin6_flowinfo);
    *scope = a->v6.sin6_scope_id;
    return inet_ntop(AF_INET6, &a->v6.sin6_addr, host, INET6_ADDRSTRLEN) ? 6 : 0;
}

static int mpg_would_block(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == EINTR;
}

static int mpg_refused(int error) { return error == ECONNREFUSED; }

/* The kernel or the device cannot cut up runs at all. Other errors concern one run. */
static int mpg_never_runs(int error)
{
    return error == EIO || error == ENOSYS || error == EOPNOTSUPP || error == ENOPROTOOPT;
}

static int mpg_error(void) { return errno; }
#endif
