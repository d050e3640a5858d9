/* cluster_answers.h -- what the clients of cluster.h are told, and what they make of it. */
#ifndef TESTS_SCENARIO_CLUSTER_ANSWERS_H
#define TESTS_SCENARIO_CLUSTER_ANSWERS_H

#include "tests/scenario/cluster_text.h"

static void topology_answered(struct cluster *c, uint32_t node,
                              const struct client_topology_done *done);

static void keep_context(struct cluster *c, const struct request *request, struct bytes bytes)
{
    if (request->keep_as[0] == 0)
        return;
    CHECK_U64(c->context_count, <, ARRAY_COUNT(c->contexts));
    static_assert(sizeof c->contexts[0].name == sizeof request->keep_as, "copied whole");
    memcpy(c->contexts[c->context_count].name, request->keep_as, sizeof request->keep_as);
    c->contexts[c->context_count++].bytes = arena_copy(&c->arena, bytes);
}

static void register_seen(struct request *request, struct bytes value, uint64_t version)
{
    snprintf(request->seen, sizeof request->seen, "%.*s", (int)value.size,
             (const char *)value.data);
    request->version = version;
}

/* What became of a change in a consistent keyspace. */
static void changed(struct cluster *c, struct request *request, const struct put_result *result)
{
    char version[32] = "";
    register_seen(request, result->value, result->version);
    if (result->status == OK || result->status == ERR_CONFLICT)
        snprintf(version, sizeof version, ", version %llu", (unsigned long long)result->version);
    cluster_say(c, "n%u answers: %s, %s%s (%s)%s%s%s%s", request->node, err_text(result->status),
                outcome_text(result->outcome), version, progress_text(&result->progress),
                result->status == ERR_CONFLICT ? ": there is " : "",
                result->status != ERR_CONFLICT ? ""
                : result->found                ? request->seen
                                               : "nothing",
                result->why == NULL ? "" : ": ", result->why == NULL ? "" : result->why);
}

static void got(struct cluster *c, struct request *request, const struct client_get_done *done)
{
    struct writer writer;
    request->status = done->status;
    if (done->status != OK) {
        cluster_say(c, "n%u answers: %s (%s): %s", request->node, err_text(done->status),
                    progress_text(&done->progress), done->why);
        return;
    }
    if (request->strong) {
        struct bytes value = {0};
        if (done->set.count != 0)
            value = done->set.versions[0].value;
        register_seen(request, value, done->version);
        check_honest(c, bytes_of_string(request->key), &done->set);
        cluster_say(c, "n%u answers: %s, version %llu (%s)", request->node,
                    done->set.count == 0 ? "nothing" : request->seen,
                    (unsigned long long)done->version, progress_text(&done->progress));
        return;
    }
    writer_init(&writer, &c->arena, 64);
    clock_encode(&writer, &done->set.clock);
    struct reader reader = reader_of(writer_result(&writer));
    enum err err = clock_decode(&reader, &c->arena, &request->context);
    CHECK(err == OK);
    keep_context(c, request, writer_result(&writer));
    check_monotonic(c, request);
    check_never(c, &done->set, done->wall_ms);
    check_honest(c, bytes_of_string(request->key), &done->set);
    cluster_say(c, "n%u answers: %s (%s)", request->node,
                done->set.count == 0 ? "nothing" : set_text(c, &done->set),
                progress_text(&done->progress));
}

static void wrote(struct cluster *c, struct request *request, const struct put_result *result)
{
    request->status = result->status;
    request->outcome = result->outcome;
    request->quorum &= result->progress.fallback_count == 0; /* reads do not ask fallbacks */
    if (result->status == OK && !request->strong) {
        struct bytes copy = arena_copy(&c->arena, result->context);
        struct reader reader = reader_of(copy);
        enum err err = clock_decode(&reader, &c->arena, &request->context);
        CHECK(err == OK);
        keep_context(c, request, copy);
    }
    if ((result->status == OK) != (result->outcome == OUTCOME_APPLIED))
        cluster_fail(c, "%s and %s do not go together", err_text(result->status),
                     outcome_text(result->outcome));
    if (request->strong) {
        changed(c, request, result);
        return;
    }
    cluster_say(c, "n%u answers: %s, %s (%s)%s%s%s", request->node, err_text(result->status),
                outcome_text(result->outcome), progress_text(&result->progress),
                result->sibling_count > 1 ? ", siblings" : "", result->why == NULL ? "" : ": ",
                result->why == NULL ? "" : result->why);
}

static void client_answer(struct cluster *c, const struct message *message)
{
    if (message->kind == MESSAGE_keyspace_change_done) {
        const struct keyspace_change_done *done = &message->keyspace_change_done;
        cluster_say(c, "n%u answers: %s, known by %u of %u%s%s", message->from.node,
                    err_text(done->status), done->known_by, done->nodes,
                    done->why == NULL ? "" : ": ", done->why == NULL ? "" : done->why);
        return;
    }
    if (message->kind == MESSAGE_client_maintenance_done) {
        const struct client_maintenance_done *done = &message->client_maintenance_done;
        cluster_say(c, "n%u answers: %s, %u of %u ranges, %u failed%s%s", message->from.node,
                    err_text(done->status), done->ranges_done, done->ranges_total,
                    done->ranges_failed, done->ended ? ", ended" : "",
                    done->why == NULL ? "" : done->why);
        return;
    }
    if (message->kind == MESSAGE_client_topology_done) {
        topology_answered(c, message->from.node, &message->client_topology_done);
        return;
    }
    bool get = message->kind == MESSAGE_client_get_done;
    CHECK(get || message->kind == MESSAGE_client_put_done);
    uint64_t client = get ? message->client_get_done.client : message->client_put_done.client;
    CHECK_U64(client, <, c->request_count);
    struct request *request = &c->requests[client];
    if (request->ended)
        cluster_fail(c, "request %u was answered twice", (uint32_t)client);
    request->ended = true;
    request->ended_ns = c->now_ns;
    if (get)
        got(c, request, &message->client_get_done);
    else
        wrote(c, request, &message->client_put_done.result);
}

#endif
