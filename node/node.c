#include "node/node.h"

#include "node/cluster_key.h"
#include "node/http.h"
#include "node/node_actors.h"
#include "node/node_place.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define LINKS_WAIT_NS 150000000u
/* A directory that is new asks who it is before it serves: it may be one that was lost. */
#define FIRST_WAIT_NS 10000000000u

/* -- the engine's calls back
 * ---------------------------------------------------------------------------- */

static void on_committed(void *host, uint32_t handle, uint64_t sequence)
{
    struct node *node = host;
    pthread_mutex_lock(&node->post_lock);
    if (node->posting && handle == node_handle(node, NODE_HANDLE_PEERS)) {
        rpc_peers_committed(node->peers, sequence);
    } else if (node->posting) {
        struct runtime_wakes wakes = {0};
        struct message *message = message_new(MESSAGE_store_committed, 0);
        message->to = node_actors_of_handle(node, handle);
        message->from = message->to;
        message->store_committed.sequence = sequence;
        runtime_post(node->runtime, message, &wakes);
        runtime_wake(node->runtime, &wakes);
    }
    pthread_mutex_unlock(&node->post_lock);
}

/* A failed fsync is final: what the disk holds is not known any more, and recovery decides at the
 * next start. Nothing that was not durable has been acknowledged. */
static void on_engine_failed(void *host, const char *why)
{
    struct node *node = host;
    log_write(&node->log, LOG_ERROR, "store_failed",
              "why=\"%s\" what_now=\"the process ends; check the disk, then start it again\"", why);
    _exit(EXIT_DISK_FAILED);
}

static void on_thread_started(void *host)
{
    (void)host;
    runtime_thread_register();
}

static void on_thread_stopping(void *host)
{
    (void)host;
    runtime_thread_unregister();
}

/* -- the runtime's calls back
 * ----------------------------------------------------------------------------- */

static void deliver_remote(void *host, struct message *list)
{
    struct node *node = host;
    rpc_peers_deliver(node->peers, list);
}

void node_member_name(struct node *node, uint32_t number, char ret_name[NODE_NAME_MAX + 1])
{
    const struct view *view = runtime_view_lock(node->runtime);
    const struct member *member = topology_member(&view->topology, number);
    if (member == NULL)
        snprintf(ret_name, NODE_NAME_MAX + 1, "#%" PRIu32, number);
    else
        snprintf(ret_name, NODE_NAME_MAX + 1, "%s", member->name);
    runtime_view_unlock(node->runtime);
}

/* The first cause stands. */
static void end_life(struct node *node, enum node_end end, const char *judge,
                     const struct incarnation_answer *answer)
{
    pthread_mutex_lock(&node->post_lock);
    bool first = node->end == NODE_GOES_ON;
    if (first) {
        node->end = end;
        snprintf(node->judge, sizeof node->judge, "%s", judge);
        if (answer != NULL)
            node->renewal = *answer;
    }
    pthread_mutex_unlock(&node->post_lock);
    if (first)
        kill(getpid(), NODE_END_SIGNAL);
}

/* A peer has judged this process: main ends it. */
static void on_told(void *host, uint32_t member, const struct incarnation_answer *answer)
{
    struct node *node = host;
    char judge[NODE_NAME_MAX + 1];
    node_member_name(node, member, judge);
    enum node_end end = NODE_IS_DUPLICATE;
    if (answer->action == IDENTITY_RENEW)
        end = NODE_RENEWS;
    else if (answer->verdict == IDENTITY_REMOVED)
        end = NODE_WAS_REMOVED;
    end_life(node, end, judge, answer);
}

/* The links follow the topology before anything is sent by it. */
static void on_view(void *host, const struct view *view)
{
    struct node *node = host;
    if (view->topology.epoch == node->epoch_seen)
        return;
    node->epoch_seen = view->topology.epoch;
    const struct member *self = topology_member(&view->topology, node->self);
    if (topology_was_removed(&view->topology, node->self) || (self != NULL && self->gone))
        end_life(node, NODE_WAS_REMOVED, "", NULL);
    else
        rpc_peers_connect(node->peers, &view->topology);
}

enum node_end node_end(struct node *node)
{
    pthread_mutex_lock(&node->post_lock);
    enum node_end end = node->end;
    pthread_mutex_unlock(&node->post_lock);
    return end;
}

static void deliver_edge(void *host, struct message *list)
{
    struct node *node = host;
    rpc_server_deliver(node->server, list);
}

/* -- starting
 * -----------------------------------------------------------------------------------------------
 */

static uint32_t threads_or_default(uint64_t configured)
{
    if (configured != 0)
        return (uint32_t)configured;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    long half = cores / 2;
    return half < 1 ? 1 : half > (long)NODE_ACTORS_MAX ? NODE_ACTORS_MAX : (uint32_t)half;
}

static void random_fill(void *memory, size_t size)
{
    CHECK(getrandom(memory, size, 0) == (ssize_t)size);
}

/* Who this node is; first, who it is from now on. */
static enum err node_boot(struct node *node, const struct incarnation_answer *renewal, char *why,
                          size_t why_size)
{
    struct store *meta = node_store(node, NODE_HANDLE_GOSSIP);
    if (renewal != NULL) {
        struct boot_renewal options = {.answer = *renewal, .log = &node->log};
        random_fill(&options.fresh, sizeof options.fresh);
        enum err err = boot_renew(meta, &node->arena, &options, why, why_size);
        if (err != OK)
            return err;
    }
    struct boot_options boot = {
        .topology = node->joined ? NULL : &node->topology,
        .joined = node->joined ? &node->topology : NULL,
        .listed = node->listed,
        .listed_count = node->joined ? node->listed_count : 0,
        .self = node->self,
        .name = node->config->text[CONFIG_name],
        .shards = node->replica_count,
        .wall_ms = runtime_wall_ms(),
        .log_short = engine_log_short(node->engine),
        .log = &node->log,
    };
    random_fill(boot.random_id, sizeof boot.random_id);
    random_fill(&boot.start_nonce, sizeof boot.start_nonce);
    enum err err = boot_node(meta, &node->arena, &boot, &node->boot, why, why_size);
    if (err == ERR_DENIED)
        node->end = NODE_WAS_REMOVED;
    return err;
}

static enum err node_open_store(struct node *node, const struct incarnation_answer *renewal,
                                char *why, size_t why_size)
{
    struct engine_options options = {
        .directory = node->config->text[CONFIG_data_dir],
        .handle_count = node_handle(node, NODE_HANDLES),
        .partitions = node->topology.partitions,
        .memory_bytes = node->config->number[CONFIG_memory],
        .periodic_sync_ms = 100,
        .log = &node->log,
        .committed = on_committed,
        .failed = on_engine_failed,
        .thread_started = on_thread_started,
        .thread_stopping = on_thread_stopping,
        .host = node,
    };
    enum err err = engine_rocksdb_open(&options, &node->engine, why, why_size);
    if (err != OK)
        return err;
    err = node_boot(node, renewal, why, why_size);
    if (err != OK)
        return err;
    node->topology = node->boot.topology;
    node->self = node->boot.self;
    /* Column families take 20-50 ms each to make; better now than at somebody's first write. */
    struct keyspace builtin = keyspace_builtin();
    uint32_t *partitions = ARENA_NEW(&node->arena, uint32_t, node->topology.partitions);
    size_t count = 0;
    struct keyspace_map none = {0};
    struct view *view = view_new(&node->topology, &none, node->self);
    for (uint32_t partition = 0; partition < node->topology.partitions; partition++) {
        if (view_role(view, &builtin, partition, node->self) != ROLE_NONE)
            partitions[count++] = partition;
    }
    view_unref(view);
    err = engine_create_partitions(node->engine, partitions, count);
    if (err != OK)
        snprintf(why, why_size, "the vnodes' column families cannot be created: %s", err_text(err));
    return err;
}

static void node_make_actors(struct node *node)
{
    struct runtime_options options = {
        .self = node->self,
        .mailbox_messages_max = 65536,
        .seed = runtime_now_ns() ^ node->boot.generation << 32,
        .log = &node->log,
        .deliver_remote = deliver_remote,
        .deliver_edge = deliver_edge,
        .view_comes = on_view,
        .host = node,
    };
    node->epoch_seen = node->topology.epoch;
    node_actors_make(node, &options);
}

struct own_troubles node_own_troubles(void *host)
{
    const struct node *node = host;
    struct own_troubles troubles = {.disk_full =
                                        store_free_bytes(node_store(node, NODE_HANDLE_PEERS)) == 0};
    for (uint32_t i = 0; i < node->replica_count; i++) {
        const struct replica_figures *figures = replica_figures(node->replicas[i]);
        troubles.vnodes_incomplete += counter_get(&figures->vnodes_incomplete);
        troubles.registers_mute += counter_get(&figures->registers_mute);
    }
    return troubles;
}

static size_t hint_targets(void *host, struct hint_target_figures *ret, size_t max)
{
    const struct node *node = host;
    return hinted_handoff_targets(node->hinted_handoff, runtime_now_ns(), ret, max);
}

static const char *node_peer_listen_address(const struct node *node)
{
    if (node->config->origin[CONFIG_peer_address] != CONFIG_DEFAULT ||
        (!node->joined && node->config->text[CONFIG_initial_cluster][0] == '\0'))
        return node->config->text[CONFIG_peer_address];
    return topology_member(&node->topology, node->self)->address;
}

static enum err node_open_ports(struct node *node, char *why, size_t why_size)
{
    const struct config *config = node->config;
    node->loop = rpc_loop_new(node->grpc_thread_count, node->runtime);
    struct rpc_peers_options peers = {
        .address = node_peer_listen_address(node),
        .loop = node->loop,
        .runtime = node->runtime,
        .log = &node->log,
        .hello =
            {
                .protocol_min = PEER_PROTOCOL_VERSION,
                .protocol_max = PEER_PROTOCOL_VERSION,
                .partitions = node->topology.partitions,
                .epoch = node->topology.epoch,
                .member = node->self,
            },
        .queue_bytes_max = (size_t)64 << 20,
        .backoff_min_ms = 100,
        .backoff_max_ms = 2000,
        .told = on_told,
        .meta = node_store(node, NODE_HANDLE_PEERS),
        .host = node,
    };
    memcpy(peers.hello.cluster_id, node->topology.cluster_id, 16);
    peer_hello_say_identity(&peers.hello, &node->boot.hello, node->boot.epoch_bound);
    snprintf(peers.hello.address, sizeof peers.hello.address, "%s",
             join_says_address(config, node->joined)
                 ? join_advertised_address(config)
                 : topology_member(&node->topology, node->self)->address);
    snprintf(peers.hello.name, sizeof peers.hello.name, "%s", config->text[CONFIG_name]);
    struct rpc_server_options server = {
        .address = config->text[CONFIG_client_address],
        .loop = node->loop,
        .runtime = node->runtime,
        .log = &node->log,
        .requests_max = (uint32_t)config->number[CONFIG_requests_max],
        .value_bytes_max = (uint32_t)config->number[CONFIG_value_bytes_max],
        .node_name = config->text[CONFIG_name],
        .version = COTERIE_VERSION,
        .closed_at_first = node->boot.first_start,
        .hint_targets = hint_targets,
        .own_troubles = node_own_troubles,
        .anti_entropy = node->anti_entropy,
        .move_bytes_per_second = config->number[CONFIG_move_bytes_per_second],
        .host = node,
    };
    context_keys_derive(node->topology.cluster_id, node->cluster_key, &server.context_keys);
    peers.hello.context_mark = server.context_keys.mark;
    if (node->cluster_key.size != 0)
        explicit_bzero((void *)(uintptr_t)node->cluster_key.data, node->cluster_key.size);
    enum err err = rpc_peers_start(&peers, &node->peers, why, why_size);
    if (err == OK)
        err = rpc_server_start(&server, &node->server, why, why_size);
    return err;
}

/* A node that says it serves should know whom it can reach; a peer that is silent is not waited
 * for. */
static void node_wait_for_links(struct node *node)
{
    const struct timespec pause = {.tv_nsec = 2000000};
    uint64_t until_ns = runtime_now_ns() + (node->boot.first_start ? FIRST_WAIT_NS : LINKS_WAIT_NS);
    while (!rpc_peers_settled(node->peers) && runtime_now_ns() < until_ns)
        nanosleep(&pause, NULL);
}

enum err node_start(struct node *node, const struct config *config, const struct log *log,
                    const struct incarnation_answer *renewal, char *why, size_t why_size)
{
    *node = (struct node){.config = config, .log = *log, .started_ns = runtime_now_ns()};
    arena_init(&node->arena, NULL, 0);
    pthread_mutex_init(&node->post_lock, NULL);
    node->coordinator_count = threads_or_default(config->number[CONFIG_coordinators]);
    node->replica_count = threads_or_default(config->number[CONFIG_replicas]);
    node->grpc_thread_count = threads_or_default(config->number[CONFIG_grpc_threads]);
    enum err err = node_place_find(node, why, why_size);
    if (err == OK)
        err = cluster_key_read(&node->arena, config->text[CONFIG_cluster_key_file], log,
                               &node->cluster_key, why, why_size);
    bool settings_good = err == OK;
    if (err == OK)
        err = node_open_store(node, renewal, why, why_size);
    if (err == OK) {
        node_make_actors(node);
        err = node_open_ports(node, why, why_size);
    }
    if (err == OK && config->text[CONFIG_http_address][0] != '\0')
        err = http_start(node, config->text[CONFIG_http_address], &node->http, why, why_size);
    if (err != OK) {
        /* A port that is open already is closed by what its queues say. */
        if (node->loop != NULL)
            rpc_loop_start(node->loop);
        node_stop(node);
        return settings_good && err == ERR_INVALID ? ERR_PRECONDITION : err;
    }
    node->posting = true;
    runtime_start(node->runtime);
    rpc_loop_start(node->loop);
    rpc_peers_connect(node->peers, &node->topology);
    node_wait_for_links(node);
    if (node_end(node) == NODE_GOES_ON)
        rpc_server_set_serving(node->server, true);
    join_watch_start(node);
    return OK;
}

/* -- stopping
 * -------------------------------------------------------------------------------------------------
 */

static void node_stop_ports(struct node *node)
{
    uint32_t grace_ms = (uint32_t)node->config->number[CONFIG_drain_ms];
    bool judged = node_end(node) != NODE_GOES_ON;
    if (node->http != NULL)
        http_stop(node->http);
    if (judged) { /* nothing of this life is to leave, or to be answered, any more */
        grace_ms = 0;
        if (node->peers != NULL)
            rpc_peers_drain(node->peers, 0);
    }
    if (node->server != NULL)
        rpc_server_drain(node->server, grace_ms);
    if (node->peers != NULL && !judged)
        rpc_peers_drain(node->peers, grace_ms < 1000 ? grace_ms : 1000);
}

bool node_stop(struct node *node)
{
    bool was_running = node->posting;
    bool clean = true;
    join_watch_stop(node);
    node_stop_ports(node);
    pthread_mutex_lock(&node->post_lock);
    node->posting = false;
    pthread_mutex_unlock(&node->post_lock);
    if (was_running)
        runtime_stop(node->runtime);
    if (node->server != NULL)
        rpc_server_free(node->server);
    if (node->peers != NULL)
        rpc_peers_free(node->peers);
    if (node->loop != NULL)
        rpc_loop_free(node->loop);
    for (uint32_t i = 0; i < node->replica_count && was_running && clean; i++)
        clean = replica_keep_trees(node->replicas[i], engine_store(node->engine, i)) == OK;
    if (was_running && clean)
        clean = boot_mark_clean(node_store(node, NODE_HANDLE_GOSSIP)) == OK;
    if (node->engine != NULL)
        engine_close(node->engine);
    if (node->runtime != NULL)
        runtime_free(node->runtime);
    node_actors_free(node);
    arena_deinit(&node->arena);
    pthread_mutex_destroy(&node->post_lock);
    return clean;
}
