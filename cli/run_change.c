/* join, decommission, replace, weight, zone, replicate: what is staged; plan, commit, abort, pause,
 * resume, pace: what becomes of it. */
#include "cli/changes.h"
#include "cli/output.h"
#include "cli/plan.h"
#include "cli/waits.h"
#include "model/topology_words.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SERVICE          "/coterie.v1.Cluster/"
#define DATA_CENTERS_CAP 8u
#define REPLICAS_CAP     7u
#define WEIGHT_CAP       64u
#define PLAN_TRIES       20u
#define PLAN_PAUSE_NS    100000000l

typedef Coterie__V1__StageChangeRequest stage_words;

/* -- the plan ---------------------------------------------------------------------------------- */

static const Coterie__V1__Plan *plan_ask(struct cli *cli, stage_words *proposed,
                                         enum cli_exit *ret_exit)
{
    Coterie__V1__GetPlanRequest request = COTERIE__V1__GET_PLAN_REQUEST__INIT;
    request.proposed = proposed;
    Coterie__V1__GetPlanResponse *response = (Coterie__V1__GetPlanResponse *)cli_call(
        cli, SERVICE "GetPlan", &request.base, &coterie__v1__get_plan_response__descriptor, false,
        ret_exit);
    if (response != NULL && response->plan == NULL) {
        cli_note("the node answered without a plan");
        *ret_exit = CLI_FAILED;
    }
    return response == NULL ? NULL : response->plan;
}

/* Of an epoch that is not older: another node may answer, and not know of it yet. */
static const Coterie__V1__Plan *plan_ask_since(struct cli *cli, uint64_t epoch,
                                               enum cli_exit *ret_exit)
{
    const struct timespec pause = {.tv_nsec = PLAN_PAUSE_NS};
    const Coterie__V1__Plan *plan = plan_ask(cli, NULL, ret_exit);
    for (uint32_t i = 0; i < PLAN_TRIES && plan != NULL && plan->epoch < epoch; i++) {
        nanosleep(&pause, NULL);
        plan = plan_ask(cli, NULL, ret_exit);
    }
    return plan;
}

static void print_all(struct cli *cli, const Coterie__V1__Plan *plan, bool staged, bool committed)
{
    if (cli->json)
        output_json(json_pack("{s:b, s:b, s:o}", "staged", (int)staged, "committed", (int)committed,
                              "plan", plan_json(plan)));
}

/* -- commit ------------------------------------------------------------------------------------ */

static enum cli_exit confirm(const struct cli *cli, const char *question, const char *without)
{
    if (cli->options[OPTION_YES] != NULL)
        return CLI_OK;
    if (!isatty(STDIN_FILENO))
        return cli_usage_error(cli, "%s; say --yes", without);
    char line[16] = "";
    fprintf(stderr, "%s [y/N] ", question);
    if (fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y'))
        return CLI_OK;
    cli_note("nothing was done");
    return CLI_FAILED;
}

static enum cli_exit commit_plan(struct cli *cli, const Coterie__V1__Plan *plan)
{
    enum cli_exit exit = CLI_OK;
    Coterie__V1__CommitChangeRequest request = COTERIE__V1__COMMIT_CHANGE_REQUEST__INIT;
    request.expected_epoch = plan->epoch;
    request.force = cli->options[OPTION_FORCE] != NULL;
    Coterie__V1__CommitChangeResponse *response = (Coterie__V1__CommitChangeResponse *)cli_call(
        cli, SERVICE "CommitChange", &request.base,
        &coterie__v1__commit_change_response__descriptor, true, &exit);
    if (response == NULL)
        return exit;
    cli_note("committed as epoch %" PRIu64 "; reads and writes go on meanwhile\n"
             "  look at it:   coterie changes --wait\n"
             "  hold it:      coterie pause, then coterie resume\n"
             "  take it back: coterie abort",
             response->epoch);
    return CLI_OK;
}

static enum cli_exit commit_and_wait(struct cli *cli, const Coterie__V1__Plan *plan, bool staged)
{
    enum cli_exit exit = commit_plan(cli, plan);
    print_all(cli, plan, staged, exit == CLI_OK);
    if (exit == CLI_OK && cli->options[OPTION_WAIT] != NULL)
        exit = changes_wait(cli);
    return exit;
}

enum cli_exit cli_run_commit(struct cli *cli)
{
    enum cli_exit exit = CLI_OK;
    const Coterie__V1__Plan *plan = plan_ask(cli, NULL, &exit);
    if (plan == NULL)
        return exit;
    if (!cli->json)
        plan_print(cli, plan, NULL);
    exit = confirm(cli, "Commit it?", "a commit moves data as the plan above says");
    return exit == CLI_OK ? commit_and_wait(cli, plan, true) : exit;
}

enum cli_exit cli_run_plan(struct cli *cli)
{
    enum cli_exit exit = CLI_OK;
    const Coterie__V1__Plan *plan = plan_ask(cli, NULL, &exit);
    if (plan == NULL)
        return exit;
    const Coterie__V1__GetChangeResponse *running =
        plan->change->state == COTERIE__V1__CHANGE__STATE__STATE_RUNNING ? waits_ask(cli) : NULL;
    if (cli->json) {
        json_t *object = plan_json(plan);
        if (running != NULL)
            json_object_set_new(object, "waits", waits_json(running->waits, running->n_waits));
        output_json(object);
        return plan->n_refusals == 0 ? CLI_OK : CLI_UNHEALTHY;
    }
    plan_print(cli, plan, NULL);
    if (running != NULL)
        waits_print(&cli->arena, running, "waits     ", true);
    return plan->n_refusals == 0 ? CLI_OK : CLI_UNHEALTHY;
}

/* -- staging ----------------------------------------------------------------------------------- */

static enum cli_exit propose(struct cli *cli, stage_words *words)
{
    enum cli_exit exit = CLI_OK;
    const Coterie__V1__Plan *plan = plan_ask(cli, words, &exit);
    if (plan == NULL)
        return exit;
    if (!cli->json)
        plan_print(cli, plan, "proposed, not staged");
    print_all(cli, plan, false, false);
    cli_note("nothing was staged: this is what it would mean");
    return plan->n_refusals == 0 ? CLI_OK : CLI_UNHEALTHY;
}

static void say_staged(const stage_words *words, const Coterie__V1__Plan *plan)
{
    if (words->what_case == COTERIE__V1__STAGE_CHANGE_REQUEST__WHAT_LEAVE && words->leave->gone)
        cli_note("staged, nothing moves yet, but %s is given up from now on: no abort undoes that\n"
                 "  have its successor join, if it is to have one:  coterie join\n"
                 "  carry it out:                                   coterie commit",
                 words->leave->node);
    else if (plan->n_refusals != 0)
        cli_note("staged, nothing moves yet, and a commit would be REFUSED as it is\n"
                 "  stage what it lacks, then:  coterie commit\n"
                 "  take it back:               coterie abort");
    else
        cli_note("staged, nothing moves yet\n"
                 "  stage more, or carry it out:  coterie commit\n"
                 "  take it back:                 coterie abort");
}

/* Stages one thing, shows the plan; commits it with --yes; --dry-run does neither. */
static enum cli_exit stage(struct cli *cli, stage_words *words)
{
    enum cli_exit exit = CLI_OK;
    bool commits = cli->options[OPTION_YES] != NULL;
    if (cli->options[OPTION_DRY_RUN] != NULL)
        return propose(cli, words);
    if (!commits && (cli->options[OPTION_WAIT] != NULL || cli->options[OPTION_FORCE] != NULL))
        return cli_usage_error(cli, "--wait and --force are for a commit: say --yes too, or stage "
                                    "without them and give them to coterie commit");
    Coterie__V1__StageChangeResponse *response = (Coterie__V1__StageChangeResponse *)cli_call(
        cli, SERVICE "StageChange", &words->base, &coterie__v1__stage_change_response__descriptor,
        true, &exit);
    if (response == NULL)
        return exit;
    if (response->change != NULL &&
        response->change->state == COTERIE__V1__CHANGE__STATE__STATE_NONE) {
        cli_note("there is nothing to change");
        if (cli->json)
            output_json(json_pack("{s:b, s:b}", "staged", 0, "committed", 0));
        return CLI_OK;
    }
    const Coterie__V1__Plan *plan = plan_ask_since(cli, response->epoch, &exit);
    if (plan == NULL)
        return exit;
    if (!cli->json)
        plan_print(cli, plan, NULL);
    if (plan->change->state == COTERIE__V1__CHANGE__STATE__STATE_RUNNING) {
        cli_note("the change that is under way takes it into account");
        print_all(cli, plan, true, true);
        return CLI_OK;
    }
    if (commits)
        return commit_and_wait(cli, plan, true);
    print_all(cli, plan, true, false);
    say_staged(words, plan);
    return plan->n_refusals == 0 ? CLI_OK : CLI_UNHEALTHY;
}

static char *word(const struct cli *cli, uint32_t index)
{
    return (char *)(uintptr_t)cli->words[index];
}

static enum cli_exit stage_leave(struct cli *cli, bool gone)
{
    stage_words request = COTERIE__V1__STAGE_CHANGE_REQUEST__INIT;
    Coterie__V1__Leave leave = COTERIE__V1__LEAVE__INIT;
    leave.node = word(cli, 0);
    leave.gone = gone;
    request.what_case = COTERIE__V1__STAGE_CHANGE_REQUEST__WHAT_LEAVE;
    request.leave = &leave;
    return stage(cli, &request);
}

enum cli_exit cli_run_decommission(struct cli *cli)
{
    return stage_leave(cli, false);
}

enum cli_exit cli_run_replace(struct cli *cli)
{
    return stage_leave(cli, true);
}

static enum cli_exit stage_place(struct cli *cli, Coterie__V1__Place *place)
{
    stage_words request = COTERIE__V1__STAGE_CHANGE_REQUEST__INIT;
    Coterie__V1__SetPlace set = COTERIE__V1__SET_PLACE__INIT;
    set.node = word(cli, 0);
    set.place = place;
    request.what_case = COTERIE__V1__STAGE_CHANGE_REQUEST__WHAT_PLACE;
    request.place = &set;
    return stage(cli, &request);
}

enum cli_exit cli_run_weight(struct cli *cli)
{
    Coterie__V1__Place place = COTERIE__V1__PLACE__INIT;
    char *end = NULL;
    unsigned long weight = strtoul(cli->words[1], &end, 10);
    if (*end != '\0' || weight < 1 || weight > WEIGHT_CAP)
        return cli_usage_error(cli, "the weight is '%s', must be a number from 1 to %u",
                               cli->words[1], WEIGHT_CAP);
    place.weight = (uint32_t)weight;
    return stage_place(cli, &place);
}

enum cli_exit cli_run_zone(struct cli *cli)
{
    Coterie__V1__Place place = COTERIE__V1__PLACE__INIT;
    const char *data_center = cli->options[OPTION_DATA_CENTER];
    place.zone = word(cli, 1);
    if (data_center != NULL)
        place.data_center = (char *)(uintptr_t)data_center;
    return stage_place(cli, &place);
}

/* "3", or "eu=3,us=2" into a list of pairs; 0 takes a data centre's copies away. */
static enum cli_exit parse_replicas(struct cli *cli, Coterie__V1__Replicate *replicate)
{
    typedef Coterie__V1__Replicate__NByDataCenterEntry entry_type;
    const char *text = cli->words[1];
    size_t size = strlen(text);
    if (size == 1 && text[0] >= '1' && text[0] <= (char)('0' + REPLICAS_CAP)) {
        replicate->n = (uint32_t)(text[0] - '0');
        return CLI_OK;
    }
    replicate->n_by_data_center = ARENA_NEW(&cli->arena, entry_type *, DATA_CENTERS_CAP);
    while (*text != '\0') {
        size = strcspn(text, ",");
        const char *equals = memchr(text, '=', size);
        bool good = equals != NULL && equals > text && text + size == equals + 2 &&
                    replicate->n_n_by_data_center < DATA_CENTERS_CAP && equals[1] >= '0' &&
                    equals[1] <= (char)('0' + REPLICAS_CAP);
        if (!good)
            return cli_usage_error(cli,
                                   "replicas are '%s', must be a number from 1 to %u, or for each "
                                   "data centre NAME=N with commas between",
                                   cli->words[1], REPLICAS_CAP);
        entry_type *entry = ARENA_NEW(&cli->arena, entry_type, 1);
        coterie__v1__replicate__nby_data_center_entry__init(entry);
        entry->key = arena_string(&cli->arena, bytes_of(text, (size_t)(equals - text)));
        entry->value = (uint32_t)(equals[1] - '0');
        replicate->n_by_data_center[replicate->n_n_by_data_center++] = entry;
        text += size + (text[size] == ',');
    }
    return CLI_OK;
}

enum cli_exit cli_run_replicate(struct cli *cli)
{
    stage_words request = COTERIE__V1__STAGE_CHANGE_REQUEST__INIT;
    Coterie__V1__Replicate replicate = COTERIE__V1__REPLICATE__INIT;
    enum cli_exit exit = parse_replicas(cli, &replicate);
    if (exit != CLI_OK)
        return exit;
    replicate.keyspace = word(cli, 0);
    request.what_case = COTERIE__V1__STAGE_CHANGE_REQUEST__WHAT_REPLICATE;
    request.replicate = &replicate;
    return stage(cli, &request);
}

/* As a shell reads it back: a name may hold anything that is visible. */
static const char *quoted(struct arena *arena, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "_-.:,/[]@%+=";
    if (word[strspn(word, plain)] == '\0')
        return word;
    const char *text = "'";
    while (*word != '\0') {
        size_t size = strcspn(word, "'");
        text = arena_printf(arena, "%s%.*s%s", text, (int)size, word,
                            word[size] == '\'' ? "'\\''" : "");
        word += size + (word[size] == '\'');
    }
    return arena_printf(arena, "%s'", text);
}

/* A node joins by itself; here is how. */
enum cli_exit cli_run_join(struct cli *cli)
{
    enum cli_exit exit = CLI_OK;
    Coterie__V1__StatusRequest request = COTERIE__V1__STATUS_REQUEST__INIT;
    const char *name = cli->word_count > 0 ? cli->words[0] : "NAME";
    if (!topology_word_valid_some(name, NODE_NAME_MAX))
        return cli_usage_error(cli,
                               "a node's name is 1 to %u visible ASCII characters, without blanks",
                               NODE_NAME_MAX);
    const Coterie__V1__StatusResponse *status = (const Coterie__V1__StatusResponse *)cli_call(
        cli, SERVICE "Status", &request.base, &coterie__v1__status_response__descriptor, false,
        &exit);
    if (status == NULL)
        return exit;
    const char *command = arena_printf(
        &cli->arena,
        "coteried --name %s --data-dir DIR --client-address HOST:7700 --peer-address HOST:7701 "
        "--join %s",
        quoted(&cli->arena, name), quoted(&cli->arena, cli->endpoints));
    if (cli->json) {
        output_json(json_pack("{s:s, s:s, s:I}", "command", command, "cluster_id",
                              status->cluster_id, "nodes", (json_int_t)status->nodes_total));
        return CLI_OK;
    }
    printf(
        "A node joins when it starts with an empty directory and --join:\n\n  %s\n\n"
        "It takes --data-center, --zone and --weight as well. Its copies begin to move to it as\n"
        "soon as no other change is under way; with --join-hold it waits until you have seen the\n"
        "plan (coterie plan) and commit it (coterie commit). See how far it is: coterie changes\n",
        command);
    return CLI_OK;
}

/* -- what runs --------------------------------------------------------------------------------- */

static enum cli_exit tell(struct cli *cli, const char *what, uint64_t epoch,
                          const Coterie__V1__Change *change)
{
    if (cli->json)
        output_json(json_pack("{s:I, s:o?}", "epoch", (json_int_t)epoch, "change",
                              change == NULL ? NULL : plan_change_json(change)));
    else
        printf("%s (epoch %" PRIu64 ")\n", what, epoch);
    return CLI_OK;
}

#define RUN_SIMPLE(type, method, lower, request, what)                                             \
    do {                                                                                           \
        enum cli_exit exit_ = CLI_OK;                                                              \
        type##Response *response_ = (type##Response *)cli_call(                                    \
            cli, SERVICE method, &(request).base, &coterie__v1__##lower##_response__descriptor,    \
            true, &exit_);                                                                         \
        return response_ == NULL ? exit_ : tell(cli, what, response_->epoch, response_->change);   \
    } while (0)

/* By what is left of the change. */
static const char *abort_text(const Coterie__V1__Change *change)
{
    if (change == NULL || change->state == COTERIE__V1__CHANGE__STATE__STATE_NONE)
        return "taken back; nothing had begun, nothing has moved";
    if (change->state == COTERIE__V1__CHANGE__STATE__STATE_STAGED)
        return "taken back; nothing had begun. Nodes that were given up stay so: coterie plan";
    return "taken back; what has moved already goes back as well: coterie changes --wait";
}

enum cli_exit cli_run_abort(struct cli *cli)
{
    Coterie__V1__AbortChangeRequest request = COTERIE__V1__ABORT_CHANGE_REQUEST__INIT;
    enum cli_exit exit = confirm(cli, "Take back what is staged or under way?",
                                 "an abort takes back what is staged or under way");
    if (exit != CLI_OK)
        return exit;
    RUN_SIMPLE(Coterie__V1__AbortChange, "AbortChange", abort_change, request,
               abort_text(response_->change));
}

enum cli_exit cli_run_pause(struct cli *cli)
{
    Coterie__V1__PauseChangeRequest request = COTERIE__V1__PAUSE_CHANGE_REQUEST__INIT;
    RUN_SIMPLE(Coterie__V1__PauseChange, "PauseChange", pause_change, request,
               "paused: nothing is copied until coterie resume");
}

enum cli_exit cli_run_resume(struct cli *cli)
{
    Coterie__V1__ResumeChangeRequest request = COTERIE__V1__RESUME_CHANGE_REQUEST__INIT;
    RUN_SIMPLE(Coterie__V1__ResumeChange, "ResumeChange", resume_change, request, "resumed");
}

/* "64MiB", "500K", "default". */
static bool parse_pace(const char *text, uint64_t *ret_bytes)
{
    static const struct {
        const char *unit;
        unsigned shift;
    } units[] = {{"", 0},   {"B", 0},    {"K", 10}, {"KiB", 10},
                 {"M", 20}, {"MiB", 20}, {"G", 30}, {"GiB", 30}};
    if (strcmp(text, "default") == 0) {
        *ret_bytes = 0;
        return true;
    }
    char *end = NULL;
    unsigned long long number = strtoull(text, &end, 10);
    for (size_t i = 0; i < ARRAY_COUNT(units); i++) {
        if (end != text && text[0] != '-' && strcmp(end, units[i].unit) == 0 && number != 0 &&
            number <= UINT32_MAX) {
            *ret_bytes = (uint64_t)number << units[i].shift;
            return true;
        }
    }
    return false;
}

enum cli_exit cli_run_pace(struct cli *cli)
{
    Coterie__V1__SetPaceRequest request = COTERIE__V1__SET_PACE_REQUEST__INIT;
    if (!parse_pace(cli->words[0], &request.bytes_per_second))
        return cli_usage_error(cli,
                               "the pace is '%s', must be bytes a second such as 500K, 64MiB or "
                               "1GiB, or default",
                               cli->words[0]);
    RUN_SIMPLE(Coterie__V1__SetPace, "SetPace", set_pace, request, "the pace is set");
}
