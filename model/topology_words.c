#include "model/topology_words.h"

#include <stdlib.h>
#include <string.h>

bool topology_partitions_valid(uint64_t partitions)
{
    return partitions >= PARTITIONS_MIN && partitions <= PARTITIONS_MAX &&
           (partitions & (partitions - 1)) == 0;
}

bool topology_word_valid(const char *word, size_t size_max)
{
    size_t size = strnlen(word, size_max + 1);
    for (size_t i = 0; i < size; i++) {
        if (word[i] <= ' ' || word[i] > '~')
            return false;
    }
    return size <= size_max;
}

bool topology_word_valid_some(const char *word, size_t size_max)
{
    return word[0] != '\0' && topology_word_valid(word, size_max);
}

static int word_compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

uint32_t topology_words_unique(char (*words)[ZONE_NAME_MAX + 1], uint32_t count)
{
    if (count == 0)
        return 0;
    qsort(words, count, sizeof *words, word_compare);
    uint32_t kept = 1;
    for (uint32_t i = 1; i < count; i++) {
        if (strcmp(words[kept - 1], words[i]) != 0)
            memmove(words[kept++], words[i], sizeof *words);
    }
    return kept;
}

uint32_t topology_word_find(char (*words)[ZONE_NAME_MAX + 1], uint32_t count, const char *word)
{
    uint32_t index = 0;
    while (index < count && strcmp(words[index], word) != 0)
        index++;
    return index;
}

uint32_t topology_word_index(char (*words)[ZONE_NAME_MAX + 1], uint32_t count, const char *word)
{
    uint32_t index = topology_word_find(words, count, word);
    CHECK_U64(index, <, count);
    return index;
}
