#include "tests/sim/linearizable.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>

#define WORDS_MAX (LINEARIZABLE_OPERATIONS_MAX / 64)
#define END       UINT32_MAX

/* -- configurations that were looked at
 * ----------------------------------------------------------- */

/* One is its state and then its bits. */
struct seen {
    size_t words; /* of one */
    size_t count;
    size_t capacity; /* a power of two */
    uint32_t *slots; /* place + 1, 0: empty */
    uint64_t *all;
    size_t all_capacity;
};

static uint64_t configuration_hash(const uint64_t *words, size_t count)
{
    uint64_t hash = 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < count; i++) {
        hash = (hash ^ words[i]) * 0xff51afd7ed558ccdu;
        hash ^= hash >> 32;
    }
    return hash;
}

static void seen_init(struct seen *seen, size_t words)
{
    *seen = (struct seen){.words = words, .capacity = 1024, .all_capacity = 512};
    seen->slots = calloc(seen->capacity, sizeof *seen->slots);
    seen->all = malloc(seen->all_capacity * words * sizeof *seen->all);
    CHECK(seen->slots != NULL && seen->all != NULL);
}

static void seen_deinit(struct seen *seen)
{
    free(seen->slots);
    free(seen->all);
}

static size_t seen_slot(const struct seen *seen, const uint64_t *configuration)
{
    size_t slot = configuration_hash(configuration, seen->words) & (seen->capacity - 1);
    while (seen->slots[slot] != 0 &&
           memcmp(&seen->all[(seen->slots[slot] - 1) * seen->words], configuration,
                  seen->words * sizeof *configuration) != 0)
        slot = (slot + 1) & (seen->capacity - 1);
    return slot;
}

static void seen_grow(struct seen *seen)
{
    free(seen->slots);
    seen->capacity *= 2;
    seen->all_capacity *= 2;
    seen->slots = calloc(seen->capacity, sizeof *seen->slots);
    seen->all = realloc(seen->all, seen->all_capacity * seen->words * sizeof *seen->all);
    CHECK(seen->slots != NULL && seen->all != NULL);
    for (size_t i = 0; i < seen->count; i++)
        seen->slots[seen_slot(seen, &seen->all[i * seen->words])] = (uint32_t)i + 1;
}

/* False: it was here before. */
static bool seen_add(struct seen *seen, const uint64_t *configuration)
{
    size_t slot = seen_slot(seen, configuration);
    if (seen->slots[slot] != 0)
        return false;
    memcpy(&seen->all[seen->count * seen->words], configuration,
           seen->words * sizeof *configuration);
    seen->slots[slot] = (uint32_t)++seen->count;
    if (seen->count == seen->all_capacity)
        seen_grow(seen);
    return true;
}

/* -- the search
 * ----------------------------------------------------------------------------------- */

/* A call or a return, in the order of time; a list out of which what is done is lifted. */
struct event {
    uint64_t at;
    uint32_t operation;
    bool is_return;
    uint32_t next;
    uint32_t previous;
};

struct choice {
    uint32_t call; /* event */
    uint64_t state;
};

struct search {
    const struct linearizable_model *model;
    struct event *events; /* [0] stands before the first */
    uint32_t *returns;    /* event of each operation; END: it never returned */
    struct choice *choices;
    uint32_t depth;
    uint32_t unreturned; /* operations that returned and are not done */
    uint64_t configuration[1 + WORDS_MAX];
    struct seen seen;
};

/* Equal moments overlap: calls before returns. Those that never returned have only a call. */
static int event_order(const void *a, const void *b)
{
    const struct event *x = a;
    const struct event *y = b;
    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    if (x->is_return != y->is_return)
        return x->is_return ? 1 : -1;
    return (x->operation > y->operation) - (x->operation < y->operation);
}

static void search_init(struct search *search, const struct linearizable_interval *intervals,
                        uint32_t count, const struct linearizable_model *model)
{
    *search = (struct search){.model = model};
    search->events = calloc((size_t)count * 2 + 1, sizeof *search->events);
    search->returns = calloc((size_t)count + 1, sizeof *search->returns);
    search->choices = calloc((size_t)count + 1, sizeof *search->choices);
    CHECK(search->events != NULL && search->returns != NULL && search->choices != NULL);
    uint32_t events = 1;
    for (uint32_t i = 0; i < count; i++) {
        CHECK(intervals[i].called <= intervals[i].returned);
        search->returns[i] = END;
        search->events[events++] = (struct event){.at = intervals[i].called, .operation = i};
        if (intervals[i].returned == LINEARIZABLE_NEVER)
            continue;
        search->unreturned++;
        search->events[events++] =
            (struct event){.at = intervals[i].returned, .operation = i, .is_return = true};
    }
    qsort(search->events + 1, events - 1, sizeof *search->events, event_order);
    for (uint32_t i = 0; i < events; i++) {
        search->events[i].next = i + 1 < events ? i + 1 : END;
        search->events[i].previous = i - 1;
        if (search->events[i].is_return)
            search->returns[search->events[i].operation] = i;
    }
    search->configuration[0] = model->initial;
    seen_init(&search->seen, 1 + (count + 63) / 64);
}

static void search_deinit(struct search *search)
{
    seen_deinit(&search->seen);
    free(search->events);
    free(search->returns);
    free(search->choices);
}

static void event_lift(struct search *search, uint32_t at)
{
    struct event *event = &search->events[at];
    search->events[event->previous].next = event->next;
    if (event->next != END)
        search->events[event->next].previous = event->previous;
}

static void event_put_back(struct search *search, uint32_t at)
{
    struct event *event = &search->events[at];
    search->events[event->previous].next = at;
    if (event->next != END)
        search->events[event->next].previous = at;
}

/* The operation called there is the next one; false: that leads where the search has been. */
static bool search_do(struct search *search, uint32_t at, uint64_t next_state)
{
    uint32_t operation = search->events[at].operation;
    uint64_t state = search->configuration[0];
    search->configuration[0] = next_state;
    search->configuration[1 + operation / 64] |= (uint64_t)1 << operation % 64;
    if (!seen_add(&search->seen, search->configuration)) {
        search->configuration[0] = state;
        search->configuration[1 + operation / 64] &= ~((uint64_t)1 << operation % 64);
        return false;
    }
    search->choices[search->depth++] = (struct choice){.call = at, .state = state};
    event_lift(search, at);
    if (search->returns[operation] != END) {
        event_lift(search, search->returns[operation]);
        search->unreturned--;
    }
    return true;
}

/* Takes the last one back and gives the event to go on behind. */
static uint32_t search_undo(struct search *search)
{
    struct choice choice = search->choices[--search->depth];
    uint32_t operation = search->events[choice.call].operation;
    search->configuration[0] = choice.state;
    search->configuration[1 + operation / 64] &= ~((uint64_t)1 << operation % 64);
    if (search->returns[operation] != END) {
        event_put_back(search, search->returns[operation]);
        search->unreturned++;
    }
    event_put_back(search, choice.call);
    return search->events[choice.call].next;
}

static enum linearizable_verdict search_run(struct search *search, size_t configurations_max)
{
    uint32_t at = search->events[0].next;
    while (search->unreturned != 0) {
        if (search->seen.count >= configurations_max)
            return LINEARIZABLE_GAVE_UP;
        /* What was called before the first return that is left may come next. */
        if (at == END || search->events[at].is_return) {
            if (search->depth == 0)
                return LINEARIZABLE_NO;
            at = search_undo(search);
            continue;
        }
        uint64_t state;
        const struct linearizable_model *model = search->model;
        if (model->step(model->closure, search->configuration[0], search->events[at].operation,
                        &state) &&
            search_do(search, at, state))
            at = search->events[0].next;
        else
            at = search->events[at].next;
    }
    return LINEARIZABLE_YES;
}

enum linearizable_verdict linearizable_check(const struct linearizable_interval *intervals,
                                             uint32_t count, const struct linearizable_model *model,
                                             size_t configurations_max)
{
    CHECK_U64(count, <=, LINEARIZABLE_OPERATIONS_MAX);
    struct search search;
    search_init(&search, intervals, count, model);
    enum linearizable_verdict verdict = search_run(
        &search, configurations_max == 0 ? LINEARIZABLE_CONFIGURATIONS : configurations_max);
    search_deinit(&search);
    return verdict;
}

/* -- a register
 * ----------------------------------------------------------------------------------- */

static bool register_step(void *closure, uint64_t state, uint32_t index, uint64_t *ret_state)
{
    const struct linearizable_operation *operation =
        &((const struct linearizable_operation *)closure)[index];
    bool returned = operation->interval.returned != LINEARIZABLE_NEVER;
    *ret_state = state;
    switch (operation->kind) {
    case LINEARIZABLE_READ:
        return returned && (operation->any || state == operation->value);
    case LINEARIZABLE_WRITE:
        *ret_state = operation->value;
        return true;
    case LINEARIZABLE_CAS:
        if (returned && operation->refused)
            return state != operation->expected;
        *ret_state = operation->value;
        return state == operation->expected;
    }
    return false;
}

enum linearizable_verdict
linearizable_check_register(const struct linearizable_operation *operations, uint32_t count,
                            uint64_t initial, size_t configurations_max)
{
    struct linearizable_interval intervals[LINEARIZABLE_OPERATIONS_MAX];
    CHECK_U64(count, <=, LINEARIZABLE_OPERATIONS_MAX);
    for (uint32_t i = 0; i < count; i++)
        intervals[i] = operations[i].interval;
    const struct linearizable_model model = {
        .initial = initial,
        .step = register_step,
        .closure = (void *)(uintptr_t)operations,
    };
    return linearizable_check(intervals, count, &model, configurations_max);
}
