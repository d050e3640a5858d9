// link: coterie_rpc
/* Changes of the topology on the client port (DESIGN.md 4, 9): what is staged, looked at, committed
 * and taken back; what cannot be is refused with the status and the reason that say why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/rpc/server_fixture.h"

#define CLUSTER "/coterie.v1.Cluster/"

typedef Coterie__V1__StageChangeRequest stage_words;

#define UNPACK(lower, reply)                                                                       \
    coterie__v1__##lower##_response__unpack(NULL, (reply).body_size, (reply).body)
#define FREE(lower, response) coterie__v1__##lower##_response__free_unpacked(response, NULL)

static struct raw_reply ask(struct fixture *fixture, const char *method,
                            const ProtobufCMessage *request)
{
    return raw_message(&fixture->client, method, request, 5000);
}

static void refused(struct raw_reply reply, grpc_status_code code, const char *reason,
                    const char *says)
{
    if (reply.code != code || strstr(reply.message, says) == NULL)
        fail_msg("%d \"%s\" instead of %d \"...%s...\"", (int)reply.code, reply.message, (int)code,
                 says);
    assert_string_equal(reply.reason, reason);
    raw_reply_clear(&reply);
}

static char *text(const char *text)
{
    return (char *)(uintptr_t)text;
}

/* -- joining ----------------------------------------------------------------------------------- */

struct join_words {
    uint8_t id;
    size_t id_size;
    const char *name, *address, *zone;
    uint32_t weight;
};

static struct raw_reply join(struct fixture *fixture, struct join_words words)
{
    uint8_t id[32];
    Coterie__V1__JoinRequest request = COTERIE__V1__JOIN_REQUEST__INIT;
    Coterie__V1__Place place = COTERIE__V1__PLACE__INIT;
    memset(id, words.id, sizeof id);
    request.join_id.len = words.id_size == 0 ? 16 : words.id_size;
    request.join_id.data = id;
    request.name = text(words.name == NULL ? "n4" : words.name);
    request.peer_address = text(words.address == NULL ? "127.0.0.1:7804" : words.address);
    place.zone = text(words.zone == NULL ? "" : words.zone);
    place.weight = words.weight;
    request.place = &place;
    return ask(fixture, CLUSTER "Join", &request.base);
}

static uint32_t joined(struct fixture *fixture, struct join_words words)
{
    struct raw_reply reply = join(fixture, words);
    if (reply.code != GRPC_STATUS_OK)
        fail_msg("%s", reply.message);
    Coterie__V1__JoinResponse *response = UNPACK(join, reply);
    uint32_t number = response->number;
    struct arena arena;
    struct topology topology;
    arena_init(&arena, NULL, 0);
    assert_int_equal(topology_decode(&arena,
                                     bytes_of(response->document.data, response->document.len),
                                     &topology),
                     OK);
    assert_int_equal(topology.epoch, response->epoch);
    assert_int_equal(response->partitions, 64);
    assert_memory_equal(response->cluster_id.data, topology.cluster_id, 16);
    assert_non_null(topology_member(&topology, number));
    arena_deinit(&arena);
    FREE(join, response);
    raw_reply_clear(&reply);
    return number;
}

/* Asking again with the same id joins once; the answer has all that the new member starts with. */
static void test_join(void **state)
{
    assert_int_equal(joined(*state, (struct join_words){.id = 1}), 4);
    assert_int_equal(joined(*state, (struct join_words){.id = 1}), 4);
    refused(join(*state, (struct join_words){.id = 2}), GRPC_STATUS_ALREADY_EXISTS,
            "ALREADY_EXISTS", "n4");
    assert_int_equal(
        joined(*state, (struct join_words){.id = 2, .name = "n5", .address = "127.0.0.1:7805"}), 5);
}

static void test_join_refused(void **state)
{
    static const struct {
        struct join_words words;
        const char *says;
    } cases[] = {
        {{.id = 0}, "join_id: must be 16 random bytes"},
        {{.id = 1, .id_size = 15}, "join_id: "},
        {{.id = 1, .id_size = 17}, "join_id: "},
        {{.id = 1, .name = ""}, "name: missing"},
        {{.id = 1, .name = "n 4"}, "name: must be at most 63 visible"},
        {{.id = 1, .address = ""}, "peer_address: missing"},
        {{.id = 1, .address = "host"}, "peer_address: \"host\" is not host:port"},
        {{.id = 1, .address = "host:99999"}, "peer_address: "},
        {{.id = 1, .zone = "a zone with blanks"}, "place.zone: "},
        {{.id = 1, .weight = 65}, "place.weight: 65, must be 1 to 64"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++)
        refused(join(*state, cases[i].words), GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT",
                cases[i].says);
}

/* An outcome that is not known is never told as one that is. */
static void test_outcomes(void **state)
{
    struct raw_reply reply = join(*state, (struct join_words){.id = 1, .name = "unknown"});
    assert_string_equal(reply.outcome, "UNKNOWN");
    refused(reply, GRPC_STATUS_UNAVAILABLE, "OUTCOME_UNKNOWN", "it may still be decided");
    reply = join(*state, (struct join_words){.id = 1, .name = "voteless"});
    assert_string_equal(reply.outcome, "NOT_APPLIED");
    refused(reply, GRPC_STATUS_UNAVAILABLE, "VOTERS_UNAVAILABLE", "a majority of the voters");
}

/* -- staging ----------------------------------------------------------------------------------- */

struct place_words {
    const char *node, *data_center, *zone;
    uint32_t weight;
};

/* Words of one request; what they point at lives as long as this. */
struct staged {
    stage_words request;
    Coterie__V1__Leave leave;
    Coterie__V1__SetPlace set;
    Coterie__V1__Place place;
    Coterie__V1__Replicate replicate;
    Coterie__V1__Replicate__NByDataCenterEntry entry, *entries[1];
};

static stage_words *leave_of(struct staged *staged, const char *node, bool gone)
{
    coterie__v1__stage_change_request__init(&staged->request);
    coterie__v1__leave__init(&staged->leave);
    staged->request.what_case = COTERIE__V1__STAGE_CHANGE_REQUEST__WHAT_LEAVE;
    staged->request.leave = &staged->leave;
    staged->leave.node = text(node);
    staged->leave.gone = gone;
    return &staged->request;
}

static stage_words *place_of(struct staged *staged, struct place_words words)
{
    coterie__v1__stage_change_request__init(&staged->request);
    coterie__v1__set_place__init(&staged->set);
    coterie__v1__place__init(&staged->place);
    staged->request.what_case = COTERIE__V1__STAGE_CHANGE_REQUEST__WHAT_PLACE;
    staged->request.place = &staged->set;
    staged->set.node = text(words.node);
    staged->set.place = &staged->place;
    staged->place.weight = words.weight;
    staged->place.zone = text(words.zone == NULL ? "" : words.zone);
    staged->place.data_center = text(words.data_center == NULL ? "" : words.data_center);
    return &staged->request;
}

static stage_words *replicate_of(struct staged *staged, const char *keyspace, uint32_t n,
                                 const char *data_center, uint32_t n_there)
{
    coterie__v1__stage_change_request__init(&staged->request);
    coterie__v1__replicate__init(&staged->replicate);
    staged->request.what_case = COTERIE__V1__STAGE_CHANGE_REQUEST__WHAT_REPLICATE;
    staged->request.replicate = &staged->replicate;
    staged->replicate.keyspace = text(keyspace);
    staged->replicate.n = n;
    if (data_center != NULL) {
        coterie__v1__replicate__nby_data_center_entry__init(&staged->entry);
        staged->entry.key = text(data_center);
        staged->entry.value = n_there;
        staged->entries[0] = &staged->entry;
        staged->replicate.n_n_by_data_center = 1;
        staged->replicate.n_by_data_center = staged->entries;
    }
    return &staged->request;
}

static struct raw_reply stage(struct fixture *fixture, const stage_words *words)
{
    return ask(fixture, CLUSTER "StageChange", &words->base);
}

/* The change as it is after that, in words. */
static void staged_as(struct fixture *fixture, const stage_words *words, const char *part)
{
    struct raw_reply reply = stage(fixture, words);
    if (reply.code != GRPC_STATUS_OK)
        fail_msg("%s", reply.message);
    Coterie__V1__StageChangeResponse *response = UNPACK(stage_change, reply);
    assert_int_equal(response->change->state, COTERIE__V1__CHANGE__STATE__STATE_STAGED);
    bool found = false;
    for (size_t i = 0; i < response->change->n_parts; i++)
        found = found || strcmp(response->change->parts[i], part) == 0;
    if (!found)
        fail_msg("\"%s\" is not among the %zu parts", part, response->change->n_parts);
    FREE(stage_change, response);
    raw_reply_clear(&reply);
}

static void test_stage(void **state)
{
    struct staged staged;
    for (uint8_t i = 4; i < 6; i++)
        joined(*state, (struct join_words){.id = i,
                                           .name = i == 4 ? "n4" : "n5",
                                           .address = i == 4 ? "a:1" : "b:1",
                                           .zone = "z"});
    staged_as(*state, leave_of(&staged, "n3", false), "n3 leaves");
    staged_as(*state, leave_of(&staged, "n2", true), "n2 is gone for good");
    staged_as(*state, place_of(&staged, (struct place_words){.node = "n1", .weight = 4}),
              "n1: weight 1 -> 4");
    staged_as(*state, place_of(&staged, (struct place_words){.node = "n1", .zone = "b"}),
              "n1: zone default -> b, weight 1 -> 4");
    staged_as(*state, replicate_of(&staged, "last", 2, NULL, 0),
              "keyspace last: replicas in default 3 -> 2");
    staged_as(*state, replicate_of(&staged, "default", 0, "default", 1),
              "keyspace default: replicas in default 3 -> 1");
}

static void test_stage_refused(void **state)
{
    struct staged staged;
    stage_words nothing = COTERIE__V1__STAGE_CHANGE_REQUEST__INIT;
    refused(stage(*state, &nothing), GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT",
            "what: missing");
    refused(stage(*state, leave_of(&staged, "", false)), GRPC_STATUS_INVALID_ARGUMENT,
            "INVALID_ARGUMENT", "leave.node: missing");
    refused(stage(*state, leave_of(&staged, "n9", false)), GRPC_STATUS_NOT_FOUND, "NODE_NOT_FOUND",
            "leave.node: \"n9\" is no node");
    /* Who answers is not gone: its data can still be taken from it. */
    refused(stage(*state, leave_of(&staged, "n3", true)), GRPC_STATUS_FAILED_PRECONDITION,
            "CHANGE_REFUSED", "node n3 answers");
    refused(stage(*state, leave_of(&staged, "n1", true)), GRPC_STATUS_FAILED_PRECONDITION,
            "CHANGE_REFUSED", "node n1 answers");
    refused(stage(*state, place_of(&staged, (struct place_words){.node = "n1"})),
            GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", "place.place: nothing is to change");
    refused(stage(*state, place_of(&staged, (struct place_words){.node = "n1", .weight = 65})),
            GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", "place.weight: 65");
    refused(stage(*state, place_of(&staged, (struct place_words){.node = "x", .weight = 5})),
            GRPC_STATUS_NOT_FOUND, "NODE_NOT_FOUND", "place.node");
    refused(stage(*state, replicate_of(&staged, "none", 3, NULL, 0)), GRPC_STATUS_NOT_FOUND,
            "KEYSPACE_NOT_FOUND", "does not exist");
    refused(stage(*state, replicate_of(&staged, "last", 0, NULL, 0)), GRPC_STATUS_INVALID_ARGUMENT,
            "INVALID_ARGUMENT", "replicate.n: ");
    refused(stage(*state, replicate_of(&staged, "last", 8, NULL, 0)), GRPC_STATUS_INVALID_ARGUMENT,
            "INVALID_ARGUMENT", "replicate.n: ");
    refused(stage(*state, replicate_of(&staged, "last", 2, "default", 2)),
            GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", "replicate.n: ");
    refused(stage(*state, replicate_of(&staged, "last", 0, "mars", 2)),
            GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", "\"mars\" is no data centre");
    refused(stage(*state, replicate_of(&staged, "last", 0, "default", 8)),
            GRPC_STATUS_INVALID_ARGUMENT, "INVALID_ARGUMENT", "8 replicas, limit 7");
}

static bool says(char *const *sentences, size_t count, const char *part)
{
    for (size_t i = 0; i < count; i++) {
        if (strstr(sentences[i], part) != NULL)
            return true;
    }
    return false;
}

/* A member that was given up has left a copy less of everything, until somebody commits. */
static bool status_says(struct fixture *fixture, const char *part)
{
    Coterie__V1__StatusRequest request = COTERIE__V1__STATUS_REQUEST__INIT;
    struct raw_reply reply = ask(fixture, CLUSTER "Status", &request.base);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    Coterie__V1__StatusResponse *status = UNPACK(status, reply);
    bool found = says(status->problems, status->n_problems, part);
    FREE(status, status);
    raw_reply_clear(&reply);
    return found;
}

static void test_given_up_is_a_problem(void **state)
{
    struct staged staged;
    assert_false(status_says(*state, "given up"));
    staged_as(*state, leave_of(&staged, "n2", true), "n2 is gone for good");
    assert_true(status_says(*state, "node n2 was given up, and its copies are not made anew"));
    joined(*state, (struct join_words){.id = 1});
    Coterie__V1__CommitChangeRequest commit = COTERIE__V1__COMMIT_CHANGE_REQUEST__INIT;
    struct raw_reply reply = ask(*state, CLUSTER "CommitChange", &commit.base);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    raw_reply_clear(&reply);
    assert_false(status_says(*state, "given up"));
}

/* -- the plan ---------------------------------------------------------------------------------- */

static struct raw_reply plan(struct fixture *fixture, stage_words *proposed)
{
    Coterie__V1__GetPlanRequest request = COTERIE__V1__GET_PLAN_REQUEST__INIT;
    request.proposed = proposed;
    return ask(fixture, CLUSTER "GetPlan", &request.base);
}

static const Coterie__V1__PlanNode *planned(const Coterie__V1__Plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n_nodes; i++) {
        if (strcmp(plan->nodes[i]->node, name) == 0)
            return plan->nodes[i];
    }
    fail_msg("no node %s in the plan", name);
    return NULL;
}

static void warned(const Coterie__V1__Plan *plan, const char *part)
{
    if (!says(plan->warnings, plan->n_warnings, part))
        fail_msg("\"%s\" is not among the %zu warnings, the last: %s", part, plan->n_warnings,
                 plan->n_warnings == 0 ? "-" : plan->warnings[plan->n_warnings - 1]);
}

static Coterie__V1__GetPlanResponse *plan_got(struct fixture *fixture, stage_words *proposed)
{
    struct raw_reply reply = plan(fixture, proposed);
    if (reply.code != GRPC_STATUS_OK)
        fail_msg("%s", reply.message);
    Coterie__V1__GetPlanResponse *response = UNPACK(get_plan, reply);
    raw_reply_clear(&reply);
    return response;
}

/* What n4 receives when it joins: a quarter of 192 copies, but for the two places (claim.h) that
 * evenness need not have. */
static uint32_t quarter(struct fixture *fixture)
{
    Coterie__V1__GetPlanResponse *response = plan_got(fixture, NULL);
    uint32_t gains = planned(response->plan, "n4")->gains;
    FREE(get_plan, response);
    assert_in_range(gains, 42, 48);
    return gains;
}

/* Four nodes of three with N = 3: each holds three quarters of all copies afterwards. */
static void test_plan_of_a_join(void **state)
{
    refused(plan(*state, NULL), GRPC_STATUS_FAILED_PRECONDITION, "NOTHING_STAGED",
            "no change is staged");
    joined(*state, (struct join_words){.id = 1});
    uint32_t copies = quarter(*state);
    Coterie__V1__GetPlanResponse *response = plan_got(*state, NULL);
    const Coterie__V1__Plan *plan = response->plan;
    const Coterie__V1__PlanNode *n4 = planned(plan, "n4");
    assert_int_equal(plan->epoch, 2);
    assert_int_equal(n4->state, COTERIE__V1__NODE__STATE__STATE_JOINING);
    assert_int_equal(n4->copies_before, 0);
    assert_int_equal(n4->copies_after, copies);
    assert_int_equal(n4->gains, copies);
    assert_int_equal(n4->bytes_in, copies * FAKE_COPY_BYTES);
    assert_int_equal(n4->eta_ms, 1000 * copies); /* at the node's own pace of 1 MB/s */
    assert_true(n4->fits && n4->free_known);
    assert_true(n4->share_after > 0.21 && n4->share_after < 0.251);
    const Coterie__V1__PlanNode *n1 = planned(plan, "n1");
    assert_int_equal(n1->copies_before, 64);
    assert_int_equal(n1->copies_after + n1->loses, 64);
    assert_int_equal(n1->gains, 0);
    assert_int_equal(n1->bytes_out, n1->loses * FAKE_COPY_BYTES);
    assert_int_equal(plan->copies_moved, copies);
    assert_int_equal(plan->copies_moved_min, copies);
    assert_int_equal(plan->bytes, copies * FAKE_COPY_BYTES);
    assert_int_equal(plan->n_zones, 1);
    assert_int_equal(plan->zones[0]->nodes_after, 4);
    assert_int_equal(plan->zones[0]->copies_after, 192);
    assert_true(plan->balance_after < 1.05);
    assert_int_equal(plan->n_refusals, 0);
    assert_true(says(plan->warnings, plan->n_warnings, "node n2 does not answer"));
    FREE(get_plan, response);
}

/* What is only proposed is not staged. */
static void test_plan_of_what_is_proposed(void **state)
{
    struct staged staged;
    joined(*state, (struct join_words){.id = 1});
    Coterie__V1__GetPlanResponse *response =
        plan_got(*state, place_of(&staged, (struct place_words){.node = "n4", .weight = 2}));
    assert_int_equal(planned(response->plan, "n4")->weight, 2);
    FREE(get_plan, response);
    response = plan_got(*state, NULL);
    assert_int_equal(planned(response->plan, "n4")->weight, 1);
    FREE(get_plan, response);
    refused(plan(*state, leave_of(&staged, "n9", false)), GRPC_STATUS_NOT_FOUND, "NODE_NOT_FOUND",
            "n9");
}

/* What would leave fewer nodes than replicas is in the plan, with the keyspaces that it is about.
 */
static void test_plan_of_too_few(void **state)
{
    struct staged staged;
    Coterie__V1__GetPlanResponse *response = plan_got(*state, leave_of(&staged, "n3", false));
    assert_true(says(response->plan->refusals, response->plan->n_refusals, "would have 2 members"));
    warned(response->plan, "keyspaces default, last, more and 1 more are to have up to 3 replicas "
                           "in data centre default, which has 2 nodes then");
    warned(response->plan, "keyspace strict is to have two copies, and a majority of them is both");
    assert_false(says(response->plan->warnings, response->plan->n_warnings, "one copy"));
    FREE(get_plan, response);
    staged_as(*state, replicate_of(&staged, "last", 2, NULL, 0),
              "keyspace last: replicas in default 3 -> 2");
    staged_as(*state, replicate_of(&staged, "more", 2, NULL, 0),
              "keyspace more: replicas in default 3 -> 2");
    response = plan_got(*state, leave_of(&staged, "n3", false));
    warned(response->plan, "keyspaces default and strict are to have up to 3 replicas");
    FREE(get_plan, response);
    staged_as(*state, leave_of(&staged, "n2", true), "n2 is gone for good");
    response = plan_got(*state, leave_of(&staged, "n3", false));
    warned(response->plan, "keyspaces default, last, more and 1 more are to have one copy of each");
    FREE(get_plan, response);
}

/* What another number of replicas means is in the plan: refused where there are too few nodes, told
 * where copies share zones or are few. */
static void test_plan_of_other_replicas(void **state)
{
    struct staged staged;
    Coterie__V1__GetPlanResponse *response =
        plan_got(*state, replicate_of(&staged, "last", 4, NULL, 0));
    assert_true(says(response->plan->refusals, response->plan->n_refusals,
                     "would have 3 members, and keyspace last has 4 replicas"));
    FREE(get_plan, response);
    response = plan_got(*state, replicate_of(&staged, "last", 1, NULL, 0));
    assert_int_equal(response->plan->n_refusals, 0);
    assert_true(says(response->plan->warnings, response->plan->n_warnings,
                     "keyspace last is to have one copy"));
    assert_false(says(response->plan->warnings, response->plan->n_warnings, "zones"));
    FREE(get_plan, response);
    joined(*state, (struct join_words){.id = 1, .zone = "z"});
    response = plan_got(*state, replicate_of(&staged, "last", 4, NULL, 0));
    assert_int_equal(response->plan->n_refusals, 0);
    assert_true(says(response->plan->warnings, response->plan->n_warnings,
                     "4 replicas in data centre default, which has 2 zones"));
    FREE(get_plan, response);
}

/* -- commit, abort, pause, pace ---------------------------------------------------------------- */

static struct raw_reply commit(struct fixture *fixture, uint64_t expected_epoch, bool force)
{
    Coterie__V1__CommitChangeRequest request = COTERIE__V1__COMMIT_CHANGE_REQUEST__INIT;
    request.expected_epoch = expected_epoch;
    request.force = force;
    return ask(fixture, CLUSTER "CommitChange", &request.base);
}

static void commits(struct fixture *fixture, uint64_t expected_epoch, bool force)
{
    struct raw_reply reply = commit(fixture, expected_epoch, force);
    if (reply.code != GRPC_STATUS_OK)
        fail_msg("%s", reply.message);
    Coterie__V1__CommitChangeResponse *response = UNPACK(commit_change, reply);
    assert_int_equal(response->change->state, COTERIE__V1__CHANGE__STATE__STATE_RUNNING);
    assert_int_equal(response->change->began_epoch, response->epoch);
    assert_true(response->change->began_at_ms > 0);
    FREE(commit_change, response);
    raw_reply_clear(&reply);
}

static void test_commit(void **state)
{
    refused(commit(*state, 0, false), GRPC_STATUS_FAILED_PRECONDITION, "CHANGE_REFUSED",
            "nothing is staged");
    joined(*state, (struct join_words){.id = 1});
    /* Somebody else was first. */
    refused(commit(*state, 1, false), GRPC_STATUS_ABORTED, "EPOCH_CHANGED",
            "the plan was made for epoch 1, and it is 2 now");
    refused(commit(*state, 1, true), GRPC_STATUS_ABORTED, "EPOCH_CHANGED", "epoch 1");
    commits(*state, 2, false);
    refused(commit(*state, 0, false), GRPC_STATUS_FAILED_PRECONDITION, "CHANGE_REFUSED",
            "under way already");
    refused(join(*state, (struct join_words){.id = 9, .name = "n9", .address = "c:1"}),
            GRPC_STATUS_FAILED_PRECONDITION, "CHANGE_REFUSED", "under way");
}

/* A tenth more than what is received must be free; force overrides it. */
static void test_commit_what_does_not_fit(void **state)
{
    struct fixture *fixture = *state;
    joined(fixture, (struct join_words){.id = 1});
    uint64_t needed = quarter(fixture) * (uint64_t)FAKE_COPY_BYTES * 11 / 10;
    char expected[100];
    snprintf(expected, sizeof expected, "node n4 receives %llu bytes and has %llu free",
             (unsigned long long)(needed * 10 / 11), (unsigned long long)(needed - 1));
    atomic_store(&fixture->node.gossip.free_bytes, needed - 1);
    refused(commit(fixture, 0, false), GRPC_STATUS_FAILED_PRECONDITION, "DOES_NOT_FIT", expected);
    Coterie__V1__GetPlanResponse *response = plan_got(fixture, NULL);
    assert_false(planned(response->plan, "n4")->fits);
    assert_true(planned(response->plan, "n1")->fits); /* receives nothing */
    assert_int_equal(response->plan->n_refusals, 1);
    FREE(get_plan, response);
    atomic_store(&fixture->node.gossip.free_bytes, needed);
    commits(fixture, 0, false);
}

static void test_commit_by_force(void **state)
{
    struct fixture *fixture = *state;
    struct staged staged;
    joined(fixture, (struct join_words){.id = 1});
    atomic_store(&fixture->node.gossip.free_bytes, 1);
    commits(fixture, 2, true);
    /* With fewer nodes than replicas too. */
    Coterie__V1__AbortChangeRequest request = COTERIE__V1__ABORT_CHANGE_REQUEST__INIT;
    struct raw_reply reply = ask(fixture, CLUSTER "AbortChange", &request.base);
    assert_int_equal(reply.code, GRPC_STATUS_OK);
    Coterie__V1__AbortChangeResponse *response = UNPACK(abort_change, reply);
    assert_true(response->change->aborting);
    FREE(abort_change, response);
    raw_reply_clear(&reply);
    refused(stage(fixture, leave_of(&staged, "n3", false)), GRPC_STATUS_FAILED_PRECONDITION,
            "CHANGE_REFUSED", "under way");
}

static void test_flow(void **state)
{
    Coterie__V1__PauseChangeRequest pause = COTERIE__V1__PAUSE_CHANGE_REQUEST__INIT;
    Coterie__V1__ResumeChangeRequest resume = COTERIE__V1__RESUME_CHANGE_REQUEST__INIT;
    Coterie__V1__SetPaceRequest pace = COTERIE__V1__SET_PACE_REQUEST__INIT;
    Coterie__V1__AbortChangeRequest abort = COTERIE__V1__ABORT_CHANGE_REQUEST__INIT;
    const struct {
        const char *method;
        const ProtobufCMessage *request;
    } all[] = {{CLUSTER "PauseChange", &pause.base},
               {CLUSTER "ResumeChange", &resume.base},
               {CLUSTER "SetPace", &pace.base},
               {CLUSTER "AbortChange", &abort.base}};
    for (size_t i = 0; i < ARRAY_COUNT(all); i++)
        refused(ask(*state, all[i].method, all[i].request), GRPC_STATUS_FAILED_PRECONDITION,
                "CHANGE_REFUSED", i == 3 ? "nothing is staged" : "no change is under way");
    joined(*state, (struct join_words){.id = 1});
    commits(*state, 0, false);
    struct raw_reply reply = ask(*state, CLUSTER "PauseChange", &pause.base);
    Coterie__V1__PauseChangeResponse *paused = UNPACK(pause_change, reply);
    assert_true(paused->change->paused);
    FREE(pause_change, paused);
    raw_reply_clear(&reply);
    pace.bytes_per_second = 12345;
    reply = ask(*state, CLUSTER "SetPace", &pace.base);
    Coterie__V1__SetPaceResponse *paced = UNPACK(set_pace, reply);
    assert_int_equal(paced->change->bytes_per_second, 12345);
    assert_true(paced->change->paused);
    FREE(set_pace, paced);
    raw_reply_clear(&reply);
    reply = ask(*state, CLUSTER "ResumeChange", &resume.base);
    Coterie__V1__ResumeChangeResponse *resumed = UNPACK(resume_change, reply);
    assert_false(resumed->change->paused);
    FREE(resume_change, resumed);
    raw_reply_clear(&reply);
}

/* Of a change that is only staged nothing is left. */
static void test_abort_of_what_is_staged(void **state)
{
    Coterie__V1__AbortChangeRequest abort = COTERIE__V1__ABORT_CHANGE_REQUEST__INIT;
    joined(*state, (struct join_words){.id = 1});
    struct raw_reply reply = ask(*state, CLUSTER "AbortChange", &abort.base);
    Coterie__V1__AbortChangeResponse *response = UNPACK(abort_change, reply);
    assert_int_equal(response->change->state, COTERIE__V1__CHANGE__STATE__STATE_NONE);
    FREE(abort_change, response);
    raw_reply_clear(&reply);
}

/* -- how far it is ----------------------------------------------------------------------------- */

static Coterie__V1__GetChangeResponse *change_got(struct fixture *fixture)
{
    Coterie__V1__GetChangeRequest request = COTERIE__V1__GET_CHANGE_REQUEST__INIT;
    struct raw_reply reply = ask(fixture, CLUSTER "GetChange", &request.base);
    if (reply.code != GRPC_STATUS_OK)
        fail_msg("%s", reply.message);
    Coterie__V1__GetChangeResponse *response = UNPACK(get_change, reply);
    raw_reply_clear(&reply);
    return response;
}

static void test_get_change(void **state)
{
    Coterie__V1__GetChangeResponse *got = change_got(*state);
    assert_int_equal(got->change->state, COTERIE__V1__CHANGE__STATE__STATE_NONE);
    assert_int_equal(got->n_voters, 3);
    assert_int_equal(got->n_phases, 0);
    FREE(get_change, got);
    joined(*state, (struct join_words){.id = 1});
    uint32_t copies = quarter(*state);
    commits(*state, 0, false);
    got = change_got(*state);
    assert_int_equal(got->change->state, COTERIE__V1__CHANGE__STATE__STATE_RUNNING);
    assert_int_equal(got->change->partitions_waiting, 64);
    assert_int_equal(got->n_phases, 64);
    assert_int_equal(got->n_nodes, 1);
    const Coterie__V1__ReceivingNode *n4 = got->nodes[0];
    assert_string_equal(n4->node, "n4");
    assert_true(n4->answers);
    assert_int_equal(n4->gains, copies);
    assert_int_equal(n4->filled, 3);
    assert_int_equal(n4->bytes_copied, FAKE_COPIED);
    assert_int_equal(n4->bytes_total, copies * FAKE_COPY_BYTES);
    assert_int_equal(n4->bytes_per_second, FAKE_RATE);
    assert_int_equal(n4->eta_ms, (copies * FAKE_COPY_BYTES - FAKE_COPIED) / (FAKE_RATE / 1000));
    assert_int_equal(got->bytes_copied, FAKE_COPIED);
    FREE(get_change, got);
}

/* Nodes and keyspaces show where they are, and where they are to be. */
static void test_views_of_a_change(void **state)
{
    struct staged staged;
    joined(*state, (struct join_words){.id = 1, .zone = "z", .weight = 3});
    staged_as(*state, place_of(&staged, (struct place_words){.node = "n3", .weight = 4}),
              "n3: weight 1 -> 4");
    Coterie__V1__ListNodesRequest request = COTERIE__V1__LIST_NODES_REQUEST__INIT;
    struct raw_reply reply = ask(*state, CLUSTER "ListNodes", &request.base);
    Coterie__V1__ListNodesResponse *nodes = UNPACK(list_nodes, reply);
    assert_int_equal(nodes->n_nodes, 4);
    assert_int_equal(nodes->nodes[3]->state, COTERIE__V1__NODE__STATE__STATE_JOINING);
    assert_string_equal(nodes->nodes[3]->zone, "z");
    assert_int_equal(nodes->nodes[3]->weight, 3);
    assert_false(nodes->nodes[3]->voter);
    assert_true(nodes->nodes[0]->voter);
    assert_null(nodes->nodes[0]->next);
    assert_int_equal(nodes->nodes[2]->weight, 1);
    assert_int_equal(nodes->nodes[2]->next->weight, 4);
    FREE(list_nodes, nodes);
    raw_reply_clear(&reply);
    Coterie__V1__StatusRequest ask_status = COTERIE__V1__STATUS_REQUEST__INIT;
    reply = ask(*state, CLUSTER "Status", &ask_status.base);
    Coterie__V1__StatusResponse *status = UNPACK(status, reply);
    assert_int_equal(status->change->n_parts, 2);
    assert_int_equal(status->nodes_total, 4);
    FREE(status, status);
    raw_reply_clear(&reply);
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, fixture_start, fixture_stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(test_join),
        EACH(test_join_refused),
        EACH(test_outcomes),
        EACH(test_stage),
        EACH(test_stage_refused),
        EACH(test_given_up_is_a_problem),
        EACH(test_plan_of_a_join),
        EACH(test_plan_of_what_is_proposed),
        EACH(test_plan_of_too_few),
        EACH(test_plan_of_other_replicas),
        EACH(test_commit),
        EACH(test_commit_what_does_not_fit),
        EACH(test_commit_by_force),
        EACH(test_flow),
        EACH(test_abort_of_what_is_staged),
        EACH(test_get_change),
        EACH(test_views_of_a_change),
    };
    rpc_library_init(NULL);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rpc_library_shutdown();
    return failed;
}
