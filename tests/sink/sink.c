/* A fast SMTP server for benchmarks: it takes all mail, forgets it, and counts.
 *
 * usage: sink CERTIFICATE-AND-KEY [EXTENSION...]
 *
 * Prints the port that it listens to on 127.0.0.1. Each connection is a process of its own, which prints at its
 * end how often it waited for the client behind a reply of its own ("turns"), and how many messages, recipients
 * and octets came. Replies are gathered until there is no more input, as good servers do. AUTH PLAIN takes any
 * password; STARTTLS is offered.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SPACE = 1 << 18, REPLIES = 1 << 16 };

static int sock;
static SSL *ssl;
static char input[SPACE], output[REPLIES];
static size_t have, at, pending;
static int spoke, in_chunk;
static long turns, messages, recipients, octets;
static const char *const *extensions;
static int extension_count;

static void finish(int status) {
    char line[200];
    int size = snprintf(line, sizeof line, "turns %ld messages %ld recipients %ld octets %ld\n", turns, messages,
                        recipients, octets);
    if (write(1, line, (size_t)size) != size) status = 1;
    _exit(status);
}

static void flush(void) {
    for (size_t done = 0; done < pending;) {
        ssize_t n = ssl ? SSL_write(ssl, output + done, (int)(pending - done))
                        : write(sock, output + done, pending - done);
        if (n <= 0) finish(1);
        done += (size_t)n;
    }
    spoke = spoke || pending > 0;
    pending = 0;
}

static void reply(const char *text) {
    size_t size = strlen(text);
    if (pending + size > REPLIES) flush();
    memcpy(output + pending, text, size);
    pending += size;
}

/* Read more; what was not looked at is moved to the front. */
static void more(void) {
    int whole = have == at; /* else there is half a line: the client is not waiting */
    memmove(input, input + at, have - at);
    have -= at;
    at = 0;
    flush();
    if (spoke && whole && !in_chunk) {
        turns++;
        spoke = 0;
    }
    ssize_t n = ssl ? SSL_read(ssl, input + have, (int)(SPACE - have)) : read(sock, input + have, SPACE - have);
    if (n <= 0) finish(0);
    have += (size_t)n;
}

/* The next line, without its end, in the input. */
static char *line(void) {
    size_t seen = 0;
    for (;;) {
        char *end = memchr(input + at + seen, '\n', have - at - seen);
        if (end) {
            char *start = input + at;
            at = (size_t)(end - input) + 1;
            if (end > start && end[-1] == '\r') end--;
            *end = 0;
            return start;
        }
        seen = have - at;
        if (seen == SPACE) finish(1);
        more();
    }
}

static void skip(long count) {
    octets += count;
    in_chunk = 1;
    while (count > 0) {
        if (at == have) more();
        long some = (long)(have - at) < count ? (long)(have - at) : count;
        at += (size_t)some;
        count -= some;
    }
    in_chunk = 0;
}

/* Take octets until the line of a single dot; the five of the end may come in pieces. */
static void data(void) {
    static const char end[] = "\r\n.\r\n";
    int matched = 2; /* the line end of DATA counts */
    for (;;) {
        if (at == have) more();
        char *from = input + at, *stop = input + have;
        while (from < stop) {
            if (!matched) {
                char *found = memchr(from, '\r', (size_t)(stop - from));
                octets += (found ? found : stop) - from;
                from = found ? found : stop;
                if (from == stop) break;
            }
            if (*from == end[matched]) {
                matched++;
            } else {
                matched = *from == '\r';
            }
            from++;
            octets++;
            if (matched == 5) {
                at = (size_t)(from - input);
                return;
            }
        }
        at = have;
    }
}

static void ehlo(void) {
    reply("250-sink\r\n");
    if (!ssl) reply("250-STARTTLS\r\n");
    for (int i = 0; i < extension_count; i++) {
        reply("250-");
        reply(extensions[i]);
        reply("\r\n");
    }
    reply("250 AUTH PLAIN\r\n");
}

static void start_tls(SSL_CTX *context) {
    reply("220 ready\r\n");
    flush();
    if (have != at) finish(1);
    spoke = 0;
    turns++; /* the client waited for the 220 */
    ssl = SSL_new(context);
    SSL_set_fd(ssl, sock);
    if (SSL_accept(ssl) != 1) finish(1);
}

static void converse(SSL_CTX *context) {
    reply("220 sink ESMTP\r\n");
    for (;;) {
        char *command = line();
        if (!strncasecmp(command, "RCPT", 4)) {
            recipients++;
            reply("250 2.1.5 Ok\r\n");
        } else if (!strncasecmp(command, "MAIL", 4)) {
            reply("250 2.1.0 Ok\r\n");
        } else if (!strncasecmp(command, "DATA", 4)) {
            reply("354 End data with <CR><LF>.<CR><LF>\r\n");
            data();
            messages++;
            reply("250 2.0.0 Ok: queued\r\n");
        } else if (!strncasecmp(command, "BDAT", 4)) {
            char *rest;
            long size = strtol(command + 4, &rest, 10);
            int last = strcasestr(rest, "LAST") != NULL;
            skip(size);
            messages += last;
            reply("250 2.0.0 Ok\r\n");
        } else if (!strncasecmp(command, "EHLO", 4)) {
            ehlo();
        } else if (!strncasecmp(command, "STARTTLS", 8)) {
            start_tls(context);
        } else if (!strncasecmp(command, "AUTH", 4)) {
            reply("235 2.7.0 Welcome\r\n");
        } else if (!strncasecmp(command, "QUIT", 4)) {
            reply("221 2.0.0 Bye\r\n");
            flush();
            turns++;
            finish(0);
        } else {
            reply("250 2.0.0 Ok\r\n");
        }
    }
}

int main(int count, char **arguments) {
    if (count < 2) {
        fprintf(stderr, "usage: sink CERTIFICATE-AND-KEY [EXTENSION...]\n");
        return 64;
    }
    extensions = (const char *const *)arguments + 2;
    extension_count = count - 2;
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (SSL_CTX_use_certificate_chain_file(context, arguments[1]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, arguments[1], SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        return 1;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 16) ||
        getsockname(listener, (struct sockaddr *)&address, &size)) {
        perror("sink");
        return 1;
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        sock = accept(listener, NULL, NULL);
        if (sock < 0) continue;
        pid_t child = fork();
        if (child == 0) {
            int on = 1;
            close(listener);
            setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            converse(context);
        }
        close(sock);
        if (child < 0) perror("sink: fork");
    }
}
