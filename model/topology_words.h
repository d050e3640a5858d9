/* topology_words.h -- names, addresses and zones as a topology document may have them. */
#ifndef MODEL_TOPOLOGY_WORDS_H
#define MODEL_TOPOLOGY_WORDS_H

#include "model/topology.h"

/* Visible ASCII, closed by a NUL within size_max + 1 bytes. May be empty. */
bool topology_word_valid(const char *word, size_t size_max);
/* And not empty. */
bool topology_word_valid_some(const char *word, size_t size_max);
/* Sorts the words and drops the second of equals: how many are left. */
uint32_t topology_words_unique(char (*words)[ZONE_NAME_MAX + 1], uint32_t count);
/* `count` when it is not among them. */
uint32_t topology_word_find(char (*words)[ZONE_NAME_MAX + 1], uint32_t count, const char *word);
/* It is among them. */
uint32_t topology_word_index(char (*words)[ZONE_NAME_MAX + 1], uint32_t count, const char *word);
/* Q: a power of two from PARTITIONS_MIN to PARTITIONS_MAX. */
bool topology_partitions_valid(uint64_t partitions);

#endif
