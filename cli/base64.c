#include "cli/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

char *base64_encode(struct arena *arena, struct bytes bytes)
{
    char *text = arena_alloc(arena, (bytes.size + 2) / 3 * 4 + 1);
    char *next = text;
    for (size_t i = 0; i < bytes.size; i += 3) {
        size_t left = bytes.size - i;
        uint32_t word = (uint32_t)bytes.data[i] << 16;
        if (left > 1)
            word |= (uint32_t)bytes.data[i + 1] << 8;
        if (left > 2)
            word |= bytes.data[i + 2];
        *next++ = alphabet[word >> 18];
        *next++ = alphabet[word >> 12 & 63];
        *next++ = left > 1 ? alphabet[word >> 6 & 63] : '=';
        *next++ = left > 2 ? alphabet[word & 63] : '=';
    }
    *next = '\0';
    return text;
}

static int digit_of(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

enum err base64_decode(struct arena *arena, struct bytes text, struct bytes *ret_bytes)
{
    if (text.size % 4 != 0)
        return ERR_INVALID;
    size_t padding = 0;
    while (padding < 2 && padding < text.size && text.data[text.size - 1 - padding] == '=')
        padding++;
    uint8_t *bytes = arena_alloc(arena, text.size / 4 * 3);
    size_t size = 0;
    for (size_t i = 0; i < text.size; i += 4) {
        uint32_t word = 0;
        for (size_t j = 0; j < 4; j++) {
            bool is_padding = i + j >= text.size - padding;
            int digit = is_padding ? 0 : digit_of(text.data[i + j]);
            if (digit < 0)
                return ERR_INVALID;
            word = word << 6 | (uint32_t)digit;
        }
        bytes[size++] = (uint8_t)(word >> 16);
        bytes[size++] = (uint8_t)(word >> 8);
        bytes[size++] = (uint8_t)word;
        bool last = i + 4 == text.size;
        /* The bits that padding cuts off are zero, so that equal bytes are equal text. */
        if (last && padding > 0 && (word & ((1u << (8 * padding)) - 1)) != 0)
            return ERR_INVALID;
    }
    *ret_bytes = bytes_of(bytes, size - padding);
    return OK;
}
