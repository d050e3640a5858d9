/* script_words.h -- a line of a story, in words. */
#ifndef TESTS_SCENARIO_SCRIPT_WORDS_H
#define TESTS_SCENARIO_SCRIPT_WORDS_H

#include "tests/scenario/cluster_run.h"

#define WORDS_MAX 16

struct words {
    int count;
    char memory[256];
    char *word[WORDS_MAX];
};

static void words_split(struct words *words, const char *line)
{
    words->count = 0;
    snprintf(words->memory, sizeof words->memory, "%s", line);
    char *rest = words->memory;
    char *word;
    while ((word = strsep(&rest, " \n")) != NULL) {
        if (*word != 0 && words->count < WORDS_MAX)
            words->word[words->count++] = word;
    }
}

static const char *word_at(const struct words *words, int index)
{
    return index < words->count ? words->word[index] : "";
}

static bool word_is(const struct words *words, int index, const char *word)
{
    return strcmp(word_at(words, index), word) == 0;
}

static struct node *word_node(struct cluster *c, const char *word)
{
    unsigned number = 0;
    if (sscanf(word, "n%u", &number) != 1 || number == 0 || number > c->node_count) {
        cluster_fail(c, "\"%s\" is no node", word);
        number = 1;
    }
    return &c->nodes[number - 1];
}

static uint64_t word_ns(struct cluster *c, const char *word)
{
    unsigned long long amount = 0;
    char unit[4] = "";
    if (sscanf(word, "%llu%3s", &amount, unit) != 2 ||
        (strcmp(unit, "ms") != 0 && strcmp(unit, "s") != 0))
        cluster_fail(c, "\"%s\" is no time: 100ms or 2s", word);
    return amount * (strcmp(unit, "s") == 0 ? 1000 : 1) * MS;
}

#endif
