// link: coterie_sim
/* Stories: commands and what comes of them, told in the text files of this folder. A line that
 * begins with
 * "> " is a command; the indented lines below it are what the cluster then did. COTERIE_REWRITE=1
 * (or --rewrite) writes them anew: read the difference before you commit it. COTERIE_STORY=23 plays
 * those alone whose name begins so.
 *
 * Torture: every story again with each message between nodes dropped, doubled, the last one of
 * its sender before a power cut, or of all nodes: then nothing is compared, but every check holds
 * and every request ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/effort.h"
#include "tests/scenario/story_end.h"

#include <glob.h>

static bool rewrite;

struct story {
    enum tamper tamper;
    uint32_t tamper_at;
    uint32_t points;   /* out: where it can be tampered with */
    bool changes;      /* out: the topology does */
    char failure[256]; /* out */
};

static char *read_text(const char *path)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    assert_true(getdelim(&text, &size, 0, file) > 0);
    fclose(file);
    return text;
}

static void begin_cluster(struct cluster *c, const struct words *words, FILE *out,
                          const struct story *story)
{
    unsigned nodes = 0;
    unsigned centers = 1;
    unsigned spares = 0;
    bool understood = sscanf(word_at(words, 1), "%u", &nodes) == 1 && nodes != 0 &&
                      nodes <= NODES_MAX && words->count % 2 == 0;
    for (int i = 2; i < words->count; i += 2) {
        const char *figure = word_at(words, i + 1);
        if (word_is(words, i, "reaping"))
            c->reap_after_ms = word_ns(c, figure) / MS;
        else if (word_is(words, i, "comparing"))
            c->compare_ns = word_ns(c, figure);
        else if (word_is(words, i, "spares"))
            understood &= sscanf(figure, "%u", &spares) == 1 && nodes + spares <= NODES_MAX;
        else
            understood &= word_is(words, i, "centers") && sscanf(figure, "%u", &centers) == 1;
    }
    if (!understood)
        fail_msg("nodes wants 1 to %u [spares N] [centers N] [reaping TIME] [comparing TIME]",
                 NODES_MAX);
    c->tamper = story->tamper;
    c->tamper_at = story->tamper_at;
    cluster_init(c, nodes, spares, centers, out);
}

/* Plays the commands of `text`; gives the text with what came of them now. The caller frees it. */
static char *play(const char *text, struct story *story)
{
    char *told = NULL;
    size_t told_size = 0;
    FILE *out = open_memstream(&told, &told_size);
    struct cluster *c = calloc(1, sizeof *c);
    assert_non_null(c);
    char *copy = strdup(text);
    char *rest = copy;
    char *line;
    while ((line = strsep(&rest, "\n")) != NULL && c->failure[0] == 0) {
        struct words words;
        if (strncmp(line, "  ", 2) == 0 || (rest == NULL && *line == 0))
            continue;
        fprintf(out, "%s\n", line);
        if (strncmp(line, "> ", 2) != 0)
            continue;
        words_split(&words, line + 2);
        c->begun_ns = c->now_ns;
        if (word_is(&words, 0, "nodes") && c->node_count == 0)
            begin_cluster(c, &words, out, story);
        else if (c->node_count == 0)
            cluster_fail(c, "a story begins with nodes");
        else if (!command_run(c, &words))
            cluster_fail(c, "\"%s\" is no command", line);
    }
    char *after = NULL;
    size_t after_size = 0;
    FILE *quiet = open_memstream(&after, &after_size);
    c->trace = quiet;
    story->points = c->points;
    story->changes = c->newest.epoch > 1;
    if (c->failure[0] == 0)
        story_ends(c);
    snprintf(story->failure, sizeof story->failure, "%s", c->failure);
    cluster_deinit(c);
    fclose(quiet);
    if (story->failure[0] != 0)
        fprintf(out, "%s", after);
    fclose(out);
    free(after);
    free(copy);
    free(c);
    return told;
}

/* Shows where two texts part, a few lines around it. */
static void print_difference(const char *path, const char *expected, const char *actual)
{
    size_t same = 0;
    size_t line_start = 0;
    unsigned line = 1;
    for (; expected[same] != 0 && expected[same] == actual[same]; same++) {
        if (expected[same] == '\n') {
            line++;
            line_start = same + 1;
        }
    }
    const char *texts[] = {expected + line_start, actual + line_start};
    fprintf(stderr, "%s:%u: the story went another way (COTERIE_REWRITE=1 writes it anew)\n", path,
            line);
    for (int side = 0; side < 2; side++) {
        const char *at = texts[side];
        for (int i = 0; i < 6 && *at != 0; i++) {
            int size = (int)strcspn(at, "\n");
            fprintf(stderr, "%c %.*s\n", side == 0 ? '-' : '+', size, at);
            at += size + (at[size] != 0);
        }
    }
}

static glob_t stories(void)
{
    glob_t found;
    char pattern[512];
    const char *only = getenv("COTERIE_STORY");
    snprintf(pattern, sizeof pattern, SOURCE_DIR "/tests/scenario/%s*.txt",
             only == NULL ? "" : only);
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_true(found.gl_pathc >= (only == NULL ? 8 : 1));
    return found;
}

/* Every story goes as it is told, the same twice, and every check holds at its end. */
static void stories_go_as_told(void **state)
{
    (void)state;
    glob_t found = stories();
    unsigned failed = 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        const char *path = found.gl_pathv[i];
        char *expected = read_text(path);
        struct story first = {0};
        struct story second = {0};
        char *told = play(expected, &first);
        char *again = play(expected, &second);
        assert_string_equal(told, again);
        if (first.failure[0] != 0) {
            fprintf(stderr, "%s\n%s: %s\n", told, path, first.failure);
            failed++;
        } else if (strcmp(told, expected) != 0 && rewrite) {
            FILE *file = fopen(path, "w");
            assert_non_null(file);
            fputs(told, file);
            fclose(file);
        } else if (strcmp(told, expected) != 0) {
            print_difference(path, expected, told);
            failed++;
        }
        free(again);
        free(told);
        free(expected);
    }
    globfree(&found);
    assert_int_equal(failed, 0);
}

static const char *const tamper_names[] = {"", "dropped", "doubled", "the last before a power cut",
                                           "the last before a power cut of all"};

/* RELIABILITY 7: a story again with the k-th message tampered with, for all k; in those in which
 * the cluster changes, that take ten times as long, for every fourth, another one for each kind. */
static void stories_under_torture(void **state)
{
    (void)state;
    glob_t found = stories();
    unsigned failed = 0;
    unsigned runs = 0;
    for (size_t i = 0; i < found.gl_pathc; i++) {
        char *text = read_text(found.gl_pathv[i]);
        struct story plain = {0};
        free(play(text, &plain));
        assert_true(plain.points > 0);
        for (unsigned tamper = TAMPER_DROP; tamper < TAMPER_COUNT; tamper++) {
            uint32_t stride = effort_stride(plain.changes ? 4 : 1);
            for (uint32_t k = tamper % stride; k < plain.points; k += stride) {
                struct story story = {.tamper = (enum tamper)tamper, .tamper_at = k};
                char *told = play(text, &story);
                runs++;
                if (story.failure[0] != 0 && failed++ == 0)
                    fprintf(stderr, "%s\n%s with message %u %s: %s\n", told, found.gl_pathv[i], k,
                            tamper_names[tamper], story.failure);
                free(told);
            }
        }
        free(text);
    }
    globfree(&found);
    print_message("%u runs\n", runs);
    assert_int_equal(failed, 0);
}

int main(int argc, char **argv)
{
    const char *variable = getenv("COTERIE_REWRITE");
    rewrite = (argc > 1 && strcmp(argv[1], "--rewrite") == 0) ||
              (variable != NULL && strcmp(variable, "1") == 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories_go_as_told),
        cmocka_unit_test(stories_under_torture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
