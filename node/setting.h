/* setting.h -- what can be set: name, default, bounds and help of each setting, and which texts are
 * values of it. Where the texts come from is config.c's. */
#ifndef NODE_SETTING_H
#define NODE_SETTING_H

#include "node/config.h"

enum setting_type {
    SETTING_TEXT,
    SETTING_WORD, /* of a topology document: visible ASCII */
    SETTING_ADDRESS,
    SETTING_NUMBER,
    SETTING_SIZE,
    SETTING_SWITCH,
    SETTING_LOG_LEVEL
};

struct setting {
    const char *name; /* "data-dir" */
    enum setting_type type;
    const char *fallback;
    uint64_t min; /* of a number or size; of a text or address in bytes */
    uint64_t max;
    const char *help;
};

extern const struct setting setting_table[CONFIG_KEY_COUNT];

/* Its key, or -1. */
int setting_find(const char *name);
/* COTERIE_DATA_DIR */
void setting_variable(const struct setting *setting, char ret_name[64]);
/* A number, size, switch (0, 1) or level of the log; 0 for texts. INVALID with a sentence in `why`
 * that names the setting and where it is from. */
enum err setting_value(const struct setting *setting, const char *text, const char *origin,
                       uint64_t *ret_value, char *why, size_t why_size) MUST_USE;

#endif
