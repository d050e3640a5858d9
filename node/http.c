#include "node/http.h"

#include "node/node.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdlib.h>

#define CONNECTIONS_MAX 64u
#define IDLE_SECONDS    10u

struct http {
    struct node *node;
    struct MHD_Daemon *daemon;
    pthread_t thread;
    atomic_bool stopping;
};

static enum MHD_Result respond(struct MHD_Connection *connection, unsigned status,
                               const char *content_type, char *body)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(strlen(body), body, MHD_RESPMEM_MUST_FREE);
    CHECK(response != NULL);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static char *text_copy(const char *text)
{
    char *copy = strdup(text);
    CHECK(copy != NULL);
    return copy;
}

static enum MHD_Result on_request(void *closure, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_data_size, void **connection_state)
{
    (void)version;
    (void)upload_data;
    (void)upload_data_size;
    (void)connection_state;
    struct http *http = closure;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return respond(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain",
                       text_copy("only GET and HEAD\n"));
    if (strcmp(url, "/metrics") == 0)
        return respond(connection, MHD_HTTP_OK, "text/plain; version=0.0.4",
                       metrics_text(http->node));
    if (strcmp(url, "/status.json") == 0)
        return respond(connection, MHD_HTTP_OK, "application/json", status_json(http->node));
    if (strcmp(url, "/") == 0)
        return respond(connection, MHD_HTTP_OK, "text/html; charset=utf-8",
                       status_page(http->node));
    if (strcmp(url, "/healthz") == 0)
        return respond(connection, MHD_HTTP_OK, "text/plain", text_copy("ok\n"));
    return respond(connection, MHD_HTTP_NOT_FOUND, "text/plain",
                   text_copy("there are: /metrics / /status.json /healthz\n"));
}

static void *http_run(void *closure)
{
    struct http *http = closure;
    pthread_setname_np(pthread_self(), "http");
    runtime_thread_register();
    while (!atomic_load(&http->stopping))
        MHD_run_wait(http->daemon, 250);
    runtime_thread_unregister();
    return NULL;
}

static bool resolve(const char *address, struct sockaddr_storage *ret_address, char *why,
                    size_t why_size)
{
    char host[256];
    const char *colon = strrchr(address, ':');
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    if (colon == NULL || colon == address || (size_t)(colon - address) >= sizeof host) {
        snprintf(why, why_size, "http-address: \"%s\" is not host:port", address);
        return false;
    }
    bool brackets = address[0] == '[' && colon[-1] == ']'; /* of an IPv6 address: "[::1]:7702" */
    snprintf(host, sizeof host, "%.*s", (int)(colon - address) - (brackets ? 2 : 0),
             address + (brackets ? 1 : 0));
    int problem = getaddrinfo(host, colon + 1, &hints, &found);
    if (problem != 0) {
        snprintf(why, why_size, "http-address: %s: %s", address, gai_strerror(problem));
        return false;
    }
    memcpy(ret_address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return true;
}

enum err http_start(struct node *node, const char *address, struct http **ret_http, char *why,
                    size_t why_size)
{
    struct sockaddr_storage socket_address;
    if (!resolve(address, &socket_address, why, why_size))
        return ERR_INVALID;
    struct http *http = calloc(1, sizeof *http);
    CHECK(http != NULL);
    http->node = node;
    unsigned flags = MHD_USE_EPOLL | MHD_USE_ITC;
    if (socket_address.ss_family == AF_INET6)
        flags |= MHD_USE_IPv6;
    http->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, http, MHD_OPTION_SOCK_ADDR,
                                    (struct sockaddr *)&socket_address, MHD_OPTION_CONNECTION_LIMIT,
                                    CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT, IDLE_SECONDS,
                                    MHD_OPTION_END);
    if (http->daemon == NULL) {
        snprintf(why, why_size,
                 "http-address: cannot listen on %s; is another process using it? "
                 "(--http-address '' turns the port off)",
                 address);
        free(http);
        return ERR_IO;
    }
    int problem = pthread_create(&http->thread, NULL, http_run, http);
    CHECK(problem == 0);
    *ret_http = http;
    return OK;
}

void http_stop(struct http *http)
{
    atomic_store(&http->stopping, true);
    pthread_join(http->thread, NULL);
    MHD_stop_daemon(http->daemon);
    free(http);
}
