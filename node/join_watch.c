/* A member that has joined has its change committed, when nobody else is at it. */
#include "coterie/v1/cluster.pb-c.h"
#include "node/node.h"
#include "rpc/client.h"

#include <inttypes.h>
#include <time.h>

#define LOOK_MS    500u
#define SETTLE_MS  3000u /* nobody has staged anything for so long */
#define REFUSED_MS 10000u
#define CALL_MS    15000u

enum watched {
    WATCH_GOES_ON,
    WATCH_OPERATOR,   /* somebody has staged other things: theirs to commit */
    WATCH_MAY_COMMIT, /* nothing is staged but joins that commit themselves */
    WATCH_ENDS,       /* it is not joining any more, or its change runs */
};

static bool nothing_but_joins(const struct topology *topology, uint32_t self)
{
    for (uint32_t i = 0; i < topology->member_count; i++) {
        const struct member *member = &topology->members[i];
        if (member->status == MEMBER_LEAVING || (member->held && member->number != self) ||
            (member->status == MEMBER_NORMAL &&
             !member_place_equal(&member->places[TOPOLOGY_NOW], &member->places[TOPOLOGY_NEXT])))
            return false;
    }
    for (uint32_t i = 0; i < topology->replication_count; i++) {
        const struct topology_replication *replication = &topology->replication[i];
        if (memcmp(replication->n[TOPOLOGY_NOW], replication->n[TOPOLOGY_NEXT],
                   sizeof replication->n[TOPOLOGY_NOW]) != 0)
            return false;
    }
    return true;
}

static enum watched look(struct node *node, uint64_t *ret_epoch)
{
    const struct view *view = runtime_view_lock(node->runtime);
    const struct topology *topology = &view->topology;
    const struct member *self = topology_member(topology, node->self);
    enum watched watched = WATCH_GOES_ON;
    *ret_epoch = topology->epoch;
    if (self == NULL || self->status != MEMBER_JOINING || topology->change.state == CHANGE_RUNNING)
        watched = WATCH_ENDS;
    else if (topology->change.state == CHANGE_STAGED)
        watched = nothing_but_joins(topology, node->self) ? WATCH_MAY_COMMIT : WATCH_OPERATOR;
    runtime_view_unlock(node->runtime);
    return watched;
}

/* True: it has been committed, by this node or another. */
static bool commit(struct node *node, uint64_t epoch)
{
    struct rpc_client *client;
    struct rpc_client_status status;
    struct arena arena;
    char why[300];
    Coterie__V1__CommitChangeRequest request = COTERIE__V1__COMMIT_CHANGE_REQUEST__INIT;
    request.expected_epoch = epoch;
    if (rpc_client_new(node->config->text[CONFIG_client_address], &client, why, sizeof why) != OK)
        return false;
    arena_init(&arena, NULL, 0);
    const ProtobufCMessage *response = rpc_client_call(
        client, "/coterie.v1.Cluster/CommitChange", &request.base,
        &coterie__v1__commit_change_response__descriptor, CALL_MS, false, &arena, &status);
    bool done = response != NULL;
    if (done)
        log_write(&node->log, LOG_INFO, "join_committed", "expected_epoch=%" PRIu64, epoch);
    else
        log_write(&node->log, LOG_WARNING, "join_not_committed",
                  "why=\"%s\" what_now=\"it is tried again; coterie plan tells more\"",
                  status.message);
    rpc_client_free(client);
    arena_deinit(&arena);
    return done;
}

/* False: it is to stop. */
static bool wait_ms(struct join_watch *watch, uint64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + ms % 1000 * 1000000;
    until.tv_sec += (time_t)(ms / 1000 + ns / 1000000000);
    until.tv_nsec = (long)(ns % 1000000000);
    pthread_mutex_lock(&watch->lock);
    while (!watch->stop &&
           pthread_cond_clockwait(&watch->changed, &watch->lock, CLOCK_MONOTONIC, &until) == 0)
        ;
    bool on = !watch->stop;
    pthread_mutex_unlock(&watch->lock);
    return on;
}

static void *run(void *closure)
{
    struct node *node = closure;
    uint64_t epoch = 0;
    uint64_t since_ns = runtime_now_ns();
    bool said = false;
    runtime_thread_register();
    while (wait_ms(&node->join_watch, LOOK_MS)) {
        uint64_t seen;
        enum watched watched = look(node, &seen);
        if (watched == WATCH_ENDS)
            break;
        if (watched == WATCH_OPERATOR && !said) {
            log_write(&node->log, LOG_INFO, "join_staged",
                      "why=\"more than joins is staged, or a join that is held\" "
                      "what_now=\"it moves with the next coterie commit; coterie plan shows all\"");
            said = true;
        }
        if (seen != epoch || watched != WATCH_MAY_COMMIT) {
            epoch = seen;
            since_ns = runtime_now_ns();
        } else if (runtime_now_ns() - since_ns >= SETTLE_MS * UINT64_C(1000000)) {
            if (commit(node, epoch) || !wait_ms(&node->join_watch, REFUSED_MS))
                break;
            since_ns = runtime_now_ns();
        }
    }
    runtime_thread_unregister();
    return NULL;
}

void join_watch_start(struct node *node)
{
    struct join_watch *watch = &node->join_watch;
    uint64_t epoch;
    if (node->config->text[CONFIG_join][0] == '\0' || node->config->number[CONFIG_join_hold] != 0 ||
        look(node, &epoch) == WATCH_ENDS)
        return;
    watch->stop = false;
    CHECK(pthread_mutex_init(&watch->lock, NULL) == 0);
    CHECK(pthread_cond_init(&watch->changed, NULL) == 0);
    CHECK(pthread_create(&watch->thread, NULL, run, node) == 0);
    watch->running = true;
}

void join_watch_stop(struct node *node)
{
    struct join_watch *watch = &node->join_watch;
    if (!watch->running)
        return;
    pthread_mutex_lock(&watch->lock);
    watch->stop = true;
    pthread_cond_signal(&watch->changed);
    pthread_mutex_unlock(&watch->lock);
    pthread_join(watch->thread, NULL);
    pthread_cond_destroy(&watch->changed);
    pthread_mutex_destroy(&watch->lock);
    watch->running = false;
}
