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

#define MPG_MODE_OPTIONS 4 /* socket options, at most, that a mode of sending has */

#if !MPG_NATIVE
#define MPG_RUNS 0
#define MPG_LOCAL 0
typedef struct { size_t size; } mpg_address;
static int mpg_receive(int fd, char *d, size_t n, mpg_address *f, size_t *s)
    { (void)fd; (void)d; (void)n; (void)f; (void)s; return -1; }
static int mpg_send(int fd, const char *d, size_t n, const mpg_address *t)
    { (void)fd; (void)d; (void)n; (void)t; return -1; }
static int mpg_send_run(int fd, char **d, size_t *n, int c, size_t s, const mpg_address *t)
    { (void)fd; (void)d; (void)n; (void)c; (void)s; (void)t; return -1; }
static int mpg_enable_runs(int fd) { (void)fd; return 0; }
static int mpg_tell_local(int fd) { (void)fd; return 0; }
static char *mpg_address_bytes(mpg_address *a) { return (char *)a; }
static int mpg_forget_local(mpg_address *a) { (void)a; return 0; }
static int mpg_make_address(mpg_address *a, const char *h, int p, unsigned f, unsigned s,
                            const char *l)
    { (void)a; (void)h; (void)p; (void)f; (void)s; (void)l; return 0; }
static int mpg_read_address(const mpg_address *a, char *h, int *p, unsigned *f, unsigned *s,
                            char *l)
    { (void)a; (void)h; (void)p; (void)f; (void)s; (void)l; return 0; }
static int mpg_set_options(int fd, const int *o, int c)
    { (void)fd; (void)o; (void)c; return 0; }
static int mpg_spin(int fd, double s) { (void)fd; (void)s; return 0; }
static int mpg_would_block(int e) { (void)e; return 0; }
static int mpg_refused(int e) { (void)e; return 0; }
static int mpg_not_ours(int e) { (void)e; return 0; }
static int mpg_not_local(int e) { (void)e; return 0; }
static int mpg_never_runs(int e) { (void)e; return 0; }
static int mpg_too_large(int e) { (void)e; return 0; }
static int mpg_error(void) { return 0; }
#else
#define __APPLE_USE_RFC_3542 /* or macOS does not declare IPV6_RECVPKTINFO */
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
#endif

/* Whether the kernel tells which address of this host a datagram came to. */
#if defined(IP_PKTINFO) && defined(IPV6_PKTINFO) && defined(IPV6_RECVPKTINFO)
#define MPG_LOCAL 1
#define MPG_LOCAL_SIZE sizeof(struct in6_pktinfo)
#else
#define MPG_LOCAL 0
#define MPG_LOCAL_SIZE 0
#endif

/* Room for two notes, the size of a datagram and a local address, aligned as notes must be. */
typedef union {
    struct cmsghdr note;
    char room[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(MPG_LOCAL_SIZE)];
} mpg_control;

/* The other side's address and, behind it without a gap, that of this host, where it is told. All
 * other bytes are zero, so that those up to `size` name the path. */
typedef struct {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        char bytes[sizeof(struct sockaddr_in6) + sizeof(struct in6_addr)];
    } at;
    size_t size;
} mpg_address;

static char *mpg_address_bytes(mpg_address *a) { return a->at.bytes; }

static size_t mpg_peer_size(const mpg_address *a)
{
    return a->at.any.sa_family == AF_INET6 ? sizeof a->at.v6 : sizeof a->at.v4;
}

static int mpg_has_local(const mpg_address *a) { return a->size > mpg_peer_size(a); }

/* False when it had none. */
static int mpg_forget_local(mpg_address *a)
{
    int had = mpg_has_local(a);
    a->size = mpg_peer_size(a);
    return had;
}

static void mpg_set_local(mpg_address *a, const void *local, size_t size)
{
    a->size = mpg_peer_size(a) + size;
    memcpy(a->at.bytes + mpg_peer_size(a), local, size);
}

/* Have the kernel tell the local address of each datagram. */
static int mpg_tell_local(int fd)
{
#if MPG_LOCAL
    int on = 1;
    return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on) == 0
        || setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on) == 0;
#else
    (void)fd;
    return 0;
#endif
}

static void mpg_read_note(const struct cmsghdr *note, size_t *segment, mpg_address *from)
{
#if MPG_RUNS
    if (note->cmsg_level == SOL_UDP && note->cmsg_type == UDP_GRO) {
        int value;
        memcpy(&value, CMSG_DATA(note), sizeof value);
        *segment = value > 0 ? (size_t)value : 0;
    }
#endif
#if MPG_LOCAL
    if (from != NULL && note->cmsg_level == IPPROTO_IP && note->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo info;
        memcpy(&info, CMSG_DATA(note), sizeof info);
        mpg_set_local(from, &info.ipi_spec_dst, sizeof info.ipi_spec_dst);
    }
    if (from != NULL && note->cmsg_level == IPPROTO_IPV6 && note->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo info;
        memcpy(&info, CMSG_DATA(note), sizeof info);
        mpg_set_local(from, &info.ipi6_addr, sizeof info.ipi6_addr);
    }
#endif
    (void)note; (void)segment; (void)from;
}

static void mpg_add_note(struct msghdr *message, mpg_control *control, int level, int type,
                         const void *value, size_t size)
{
    struct cmsghdr *note = (struct cmsghdr *)(control->room + message->msg_controllen);
    message->msg_control = control;
    message->msg_controllen += CMSG_SPACE(size);
    note->cmsg_level = level;
    note->cmsg_type = type;
    note->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(note), value, size);
}

/* Address a message; `control` is zero but for the notes that it has. */
static void mpg_address_message(struct msghdr *message, mpg_control *control,
                                const mpg_address *to)
{
    message->msg_name = (void *)&to->at.any;
    message->msg_namelen = (socklen_t)mpg_peer_size(to);
#if MPG_LOCAL
    if (mpg_has_local(to)) {
        const char *local = to->at.bytes + mpg_peer_size(to);
        if (to->at.any.sa_family == AF_INET6) {
            struct in6_pktinfo info;
            memset(&info, 0, sizeof info);
            memcpy(&info.ipi6_addr, local, sizeof info.ipi6_addr);
            mpg_add_note(message, control, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
        } else {
            struct in_pktinfo info;
            memset(&info, 0, sizeof info);
            memcpy(&info.ipi_spec_dst, local, sizeof info.ipi_spec_dst);
            mpg_add_note(message, control, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
        }
    }
#endif
    (void)control;
}

/* musl's CMSG_NXTHDR compares a size with a difference of pointers. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
static void mpg_read_notes(struct msghdr *message, size_t *segment, mpg_address *from)
{
    struct cmsghdr *note;
    for (note = CMSG_FIRSTHDR(message); note != NULL; note = CMSG_NXTHDR(message, note))
        mpg_read_note(note, segment, from);
}
#pragma GCC diagnostic pop

/* Bytes read, or -1. `segment` is the size of each datagram in the piece, 0 for just one. */
static int mpg_receive(int fd, char *data, size_t size, mpg_address *from, size_t *segment)
{
    struct iovec part = {data, size};
    struct msghdr message;
    mpg_control control;
    int received;
    memset(&message, 0, sizeof message);
    if (from != NULL) {
        memset(from, 0, sizeof *from);
        message.msg_name = &from->at;
        message.msg_namelen = sizeof from->at.v6;
    }
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    *segment = 0;
    received = (int)recvmsg(fd, &message, 0);
    if (received < 0)
        return received;
    if (from != NULL)
        from->size = mpg_peer_size(from);
    mpg_read_notes(&message, segment, from);
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
    struct iovec part = {(char *)data, size};
    struct msghdr message;
    mpg_control control;
    if (to == NULL)
        return (int)send(fd, data, size, 0);
    if (!mpg_has_local(to))
        return (int)sendto(fd, data, size, 0, &to->at.any, (socklen_t)mpg_peer_size(to));
    memset(&message, 0, sizeof message);
    memset(&control, 0, sizeof control);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    mpg_address_message(&message, &control, to);
    return (int)sendmsg(fd, &message, 0);
}

static int mpg_send_run(int fd, char **data, size_t *sizes, int count, size_t size,
                        const mpg_address *to)
{
#if MPG_RUNS
    mpg_control control;
    struct iovec parts[64];
    struct msghdr message;
    uint16_t segment = (uint16_t)size;
    int i;
    for (i = 0; i < count; i++) {
        parts[i].iov_base = data[i];
        parts[i].iov_len = sizes[i];
    }
    memset(&message, 0, sizeof message);
    memset(&control, 0, sizeof control);
    message.msg_iov = parts;
    message.msg_iovlen = (size_t)count;
    if (to != NULL)
        mpg_address_message(&message, &control, to);
    mpg_add_note(&message, &control, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment);
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

/* Set options, each a level, a name and a value; true if the system takes them all. */
static int mpg_set_options(int fd, const int *options, int count)
{
    int i, taken = 1;
    for (i = 0; i < count; i++, options += 3)
        taken &= setsockopt(fd, options[0], options[1], &options[2], sizeof options[2]) == 0;
    return taken;
}

static int mpg_make_peer(mpg_address *a, const char *host, int port, unsigned flow,
                         unsigned scope)
{
    memset(a, 0, sizeof *a);
    if (inet_pton(AF_INET, host, &a->at.v4.sin_addr) == 1) {
        a->at.v4.sin_family = AF_INET;
        a->at.v4.sin_port = htons((uint16_t)port);
        return 1;
    }
    if (inet_pton(AF_INET6, host, &a->at.v6.sin6_addr) != 1)
        return 0;
    a->at.v6.sin6_family = AF_INET6;
    a->at.v6.sin6_port = htons((uint16_t)port);
    a->at.v6.sin6_flowinfo = htonl(flow);
    a->at.v6.sin6_scope_id = scope;
    return 1;
}

/* False for what is no address. `local` is that of this host, "" for none. */
static int mpg_make_address(mpg_address *a, const char *host, int port, unsigned flow,
                            unsigned scope, const char *local)
{
    char bytes[sizeof(struct in6_addr)];
    int family;
    if (!mpg_make_peer(a, host, port, flow, scope))
        return 0;
    a->size = mpg_peer_size(a);
    if (*local == '\0')
        return 1;
    family = a->at.any.sa_family;
    if (inet_pton(family, local, bytes) != 1)
        return 0;
    mpg_set_local(a, bytes, family == AF_INET6 ? sizeof(struct in6_addr) : sizeof(struct in_addr));
    return 1;
}

/* 4 or 6, for the version of IP; `host` and `local` have room for INET6_ADDRSTRLEN. */
static int mpg_read_address(const mpg_address *a, char *host, int *port, unsigned *flow,
                            unsigned *scope, char *local)
{
    int family = a->at.any.sa_family == AF_INET ? AF_INET : AF_INET6;
    const void *peer = &a->at.v6.sin6_addr;
    *local = '\0';
    if (mpg_has_local(a)
        && !inet_ntop(family, a->at.bytes + mpg_peer_size(a), local, INET6_ADDRSTRLEN))
        return 0;
    if (family == AF_INET) {
        peer = &a->at.v4.sin_addr;
        *port = ntohs(a->at.v4.sin_port);
    } else {
        *port = ntohs(a->at.v6.sin6_port);
        *flow = ntohl(a->at.v6.sin6_flowinfo);
        *scope = a->at.v6.sin6_scope_id;
    }
    if (!inet_ntop(family, peer, host, INET6_ADDRSTRLEN))
        return 0;
    return family == AF_INET ? 4 : 6;
}

static int mpg_would_block(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS || error == EINTR;
}

static int mpg_refused(int error) { return error == ECONNREFUSED; }

/* The descriptor was closed by somebody else, and may be another file's by now. */
static int mpg_not_ours(int error) { return error == EBADF || error == ENOTSOCK; }

/* What may come of sending from an address that this host does not have any more. */
static int mpg_not_local(int error)
{
    return error == EINVAL || error == EADDRNOTAVAIL || error == ENETUNREACH;
}

/* The kernel or the device cannot cut up runs at all. Other errors concern one run. */
static int mpg_never_runs(int error)
{
    return error == EIO || error == ENOSYS || error == EOPNOTSUPP || error == ENOPROTOOPT;
}

static int mpg_too_large(int error) { return error == EMSGSIZE; }

static int mpg_error(void) { return errno; }
#endif
