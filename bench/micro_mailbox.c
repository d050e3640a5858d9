// link: coterie_runtime
/* micro_mailbox -- what a hop over a mailbox costs, and what a wake-up costs.
 *
 * The shape of DESIGN.md section 3's table without gRPC: an edge thread keeps a number of requests
 * outstanding; each crosses H actors on H threads, one mailbox each, and comes back to the edge
 * through the edge's own mailbox. No step does any work beyond passing on; the edge frees the reply
 * and makes the next request. Once with a wake-up after each message, once with one after each
 * drained batch. */
#include "actors/runtime/runner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define SELF        1u
#define HOPS_MAX    3u
#define REPEATS_MAX 99u
#define NS_PER_S    1000000000.0

struct settings {
    uint32_t seconds_tenths; /* of each run */
    uint32_t outstanding;
    uint32_t repeats; /* the median counts */
    uint32_t edge_work_ns;
    uint64_t seed;
};

struct hop {
    struct actor actor;
    struct actor_id to;
};

struct edge {
    struct actor actor;
    struct actor_id to;
    uint32_t outstanding;
    uint32_t work_ns;
    bool started;
    struct counter replies;
    _Atomic bool stop;
};

struct figures {
    double requests_per_s;
    double wakeups_per_message;
    double messages_per_batch;
};

static void hop_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    message->to = ((struct hop *)actor)->to;
    outbox_send(ctx, actor, message);
}

static const struct actor_class hop_class = {.name = "hop", .handle = hop_handle};

static void edge_request(struct edge *edge, struct actor_context *ctx)
{
    if (edge->work_ns != 0) {
        uint64_t until_ns = runtime_now_ns() + edge->work_ns;
        while (runtime_now_ns() < until_ns)
            ;
    }
    struct message *request = message_new(MESSAGE_replica_mint_done, 0);
    request->to = edge->to;
    outbox_send(ctx, &edge->actor, request);
}

static void edge_handle(struct actor *actor, struct actor_context *ctx, struct message *message)
{
    struct edge *edge = (struct edge *)actor;
    message_free(message);
    if (!edge->started) {
        edge->started = true;
        for (uint32_t i = 0; i < edge->outstanding; i++)
            edge_request(edge, ctx);
        return;
    }
    counter_add(&edge->replies, 1);
    if (!atomic_load_explicit(&edge->stop, memory_order_relaxed))
        edge_request(edge, ctx);
}

static const struct actor_class edge_class = {.name = "edge", .handle = edge_handle};

static struct view *bench_view(void)
{
    struct topology_seed seed = {.name = "a", .address = "127.0.0.1:7701", .weight = 1};
    struct arena arena;
    arena_init(&arena, NULL, 0);
    struct topology topology;
    const char *why = NULL;
    CHECK(topology_initial(&arena, &seed, 1, PARTITIONS_MIN, &topology, &why) == OK);
    struct view *view = view_new(&topology, &(struct keyspace_map){0}, SELF);
    arena_deinit(&arena);
    return view;
}

static struct actor_id coordinator(uint32_t index)
{
    return (struct actor_id){.node = SELF, .kind = ACTOR_COORDINATOR, .index = (uint8_t)index};
}

static void sleep_tenths(uint32_t tenths)
{
    struct timespec left = {.tv_sec = tenths / 10, .tv_nsec = tenths % 10 * 100000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        ;
}

static struct figures bench_run(const struct settings *settings, uint32_t hops, bool wake_each)
{
    struct runtime_options options = {
        .self = SELF, .mailbox_messages_max = 65536, .seed = settings->seed};
    struct runtime *runtime = runtime_new(&options, bench_view());
    struct edge edge = {.outstanding = settings->outstanding,
                        .work_ns = settings->edge_work_ns,
                        .to = coordinator(hops == 0 ? 0 : 1)};
    actor_init(&edge.actor, &edge_class, coordinator(0));
    runtime_add_actor(runtime, &edge.actor, NULL, "edge");
    struct hop hop[HOPS_MAX];
    for (uint32_t i = 0; i < hops; i++) {
        char thread_name[16];
        snprintf(thread_name, sizeof thread_name, "hop%u", i + 1);
        actor_init(&hop[i].actor, &hop_class, coordinator(i + 1));
        hop[i].to = coordinator(i + 1 == hops ? 0 : i + 2);
        runtime_add_actor(runtime, &hop[i].actor, NULL, thread_name);
    }
    if (wake_each)
        runtime_wake_each_step(runtime);
    runtime_start(runtime);
    runtime_thread_register();
    struct message *go = message_new(MESSAGE_peer_link, 0);
    go->to = edge.actor.id;
    struct runtime_wakes wakes = {0};
    uint64_t before_ns = runtime_now_ns();
    CHECK(runtime_post(runtime, go, &wakes));
    runtime_wake(runtime, &wakes);
    runtime_thread_unregister();
    sleep_tenths(settings->seconds_tenths);
    uint64_t replies = counter_get(&edge.replies);
    double seconds = (double)(runtime_now_ns() - before_ns) / NS_PER_S;
    atomic_store(&edge.stop, true);
    runtime_stop(runtime);

    struct mailbox_figures mailboxes[HOPS_MAX + 1];
    size_t count = runtime_mailbox_figures(runtime, mailboxes, HOPS_MAX + 1);
    double posted = 0;
    double wakeups = 0;
    double batches = 0;
    for (size_t i = 0; i < count; i++) {
        posted += (double)mailboxes[i].posted;
        wakeups += (double)mailboxes[i].wakeups;
        batches += (double)mailboxes[i].drained_batches;
        CHECK_U64(mailboxes[i].dropped, ==, 0);
        CHECK_U64(mailboxes[i].park_timeouts_with_work, ==, 0);
    }
    runtime_free(runtime);
    return (struct figures){.requests_per_s = (double)replies / seconds,
                            .wakeups_per_message = wakeups / posted,
                            .messages_per_batch = posted / batches};
}

static int by_speed(const void *a, const void *b)
{
    double x = ((const struct figures *)a)->requests_per_s;
    double y = ((const struct figures *)b)->requests_per_s;
    return (x > y) - (x < y);
}

static struct figures bench_median(const struct settings *settings, uint32_t hops, bool wake_each)
{
    struct figures runs[REPEATS_MAX];
    for (uint32_t i = 0; i < settings->repeats; i++)
        runs[i] = bench_run(settings, hops, wake_each);
    qsort(runs, settings->repeats, sizeof runs[0], by_speed);
    return runs[settings->repeats / 2];
}

static void print_machine(void)
{
    char line[256];
    char model[256] = "unknown processor";
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "model name : %255[^\n]", model) == 1)
            break;
    }
    if (file != NULL)
        fclose(file);
    struct utsname kernel;
    CHECK(uname(&kernel) == 0);
    printf("machine: %s, %ld cores online, %s %s\n", model, sysconf(_SC_NPROCESSORS_ONLN),
           kernel.sysname, kernel.release);
}

static bool parse_number(const char *text, uint64_t max, uint64_t *ret_number)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == '-' || number > max)
        return false;
    *ret_number = number;
    return true;
}

static bool parse_settings(int argc, char **argv, struct settings *ret_settings)
{
    struct settings settings = {
        .seconds_tenths = 10, .outstanding = 128, .repeats = 5, .edge_work_ns = 5000, .seed = 1};
    for (int i = 1; i < argc; i += 2) {
        uint64_t number;
        if (i + 1 == argc || !parse_number(argv[i + 1], 1000000, &number))
            return false;
        if (strcmp(argv[i], "--seconds-tenths") == 0 && number > 0 && number <= 600)
            settings.seconds_tenths = (uint32_t)number;
        else if (strcmp(argv[i], "--outstanding") == 0 && number > 0 && number <= 32768)
            settings.outstanding = (uint32_t)number;
        else if (strcmp(argv[i], "--repeats") == 0 && number > 0 && number <= REPEATS_MAX)
            settings.repeats = (uint32_t)number;
        else if (strcmp(argv[i], "--edge-work-ns") == 0)
            settings.edge_work_ns = (uint32_t)number;
        else if (strcmp(argv[i], "--seed") == 0)
            settings.seed = number;
        else
            return false;
    }
    *ret_settings = settings;
    return true;
}

static void print_table(const struct settings *settings)
{
    printf("the edge works %u ns on each request\n\n", settings->edge_work_ns);
    printf("| hops | wake per message: requests/s | messages/s | wake-ups/message | messages/batch "
           "| wake per drained batch: requests/s | messages/s | wake-ups/message | messages/batch "
           "|\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (uint32_t hops = 0; hops <= HOPS_MAX; hops++) {
        printf("| %u ", hops);
        for (int column = 0; column < 2; column++) {
            struct figures median = bench_median(settings, hops, column == 0);
            printf("| %.0f | %.0f | %.4f | %.1f ", median.requests_per_s,
                   median.requests_per_s * (hops + 1), median.wakeups_per_message,
                   median.messages_per_batch);
            fflush(stdout);
        }
        printf("|\n");
    }
    printf("\n");
}

int main(int argc, char **argv)
{
    struct settings settings;
    if (!parse_settings(argc, argv, &settings)) {
        fprintf(stderr, "usage: micro_mailbox [--seconds-tenths N] [--outstanding N] "
                        "[--repeats N] [--edge-work-ns N] [--seed N]\n");
        return 2;
    }
    printf("micro_mailbox: mailbox hops between threads; no gRPC in this measurement\n");
    print_machine();
    printf("settings: %u outstanding, %u.%u s a run, median of %u, seed %llu\n",
           settings.outstanding, settings.seconds_tenths / 10, settings.seconds_tenths % 10,
           settings.repeats, (unsigned long long)settings.seed);
    printf("a request crosses H mailboxes, its reply one more (the edge's own)\n\n");
    uint32_t edge_work_ns = settings.edge_work_ns;
    settings.edge_work_ns = 0;
    print_table(&settings);
    settings.edge_work_ns = edge_work_ns;
    if (edge_work_ns != 0)
        print_table(&settings);
    return 0;
}
