/* ASCII goes by one table; the rest by utf8proc, but for the exceptions of bert_unicode.h. */
#include "data/words.h"
#include "base/size.h"
#include <utf8proc.h>

typedef enum kind { LETTER, PUNCT, MARK, GONE } kind; /* a MARK goes after NFD, not before */

typedef struct exception {
    uint32_t first, last;
    kind kind;
    int32_t lower; /* distance to the lower case */
} exception;

typedef struct order {
    uint32_t first, last;
    unsigned char order;
} order;

#include "data/bert_unicode.h"

/* What each byte of ASCII does; a letter is its lower case. */
enum { DROP, SPACE, POINT, WIDE, LETTERS = '0' };

#define D DROP
#define S SPACE
#define P POINT
static const unsigned char ascii[128] = {
    D,   D,   D,   D,   D,   D,   D,   D,   D,   S,   S,   D,   D,   S,   D,   D,   /* 00 */
    D,   D,   D,   D,   D,   D,   D,   D,   D,   D,   D,   D,   D,   D,   D,   D,   /* 10 */
    S,   P,   P,   P,   P,   P,   P,   P,   P,   P,   P,   P,   P,   P,   P,   P,   /* 20 */
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', P,   P,   P,   P,   P,   P,   /* 30 */
    P,   'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', /* 40 */
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', P,   P,   P,   P,   P,   /* 50 */
    P,   'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i', 'j', 'k', 'l', 'm', 'n', 'o', /* 60 */
    'p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'x', 'y', 'z', P,   P,   P,   P,   D};  /* 70 */
#undef D
#undef S
#undef P

static inline unsigned char fold(unsigned char byte)
{
    return byte < 0x80 ? ascii[byte] : WIDE;
}

/* ---- What Unicode says of a code point ---- */

static utf8proc_category_t category(uint32_t c)
{
    return (utf8proc_category_t)utf8proc_get_property((utf8proc_int32_t)c)->category;
}

bool ef__is_white(uint32_t c)
{
    const utf8proc_category_t k = category(c);
    return (c >= '\t' && c <= '\r') || c == 0x85 || k == UTF8PROC_CATEGORY_ZS ||
           k == UTF8PROC_CATEGORY_ZL || k == UTF8PROC_CATEGORY_ZP;
}

static bool is_punctuation(uint32_t c)
{
    const utf8proc_category_t k = category(c);
    return c < 0x80 ? ascii[c] == POINT : k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

/* The blocks that Hugging Face lists, with its 2b920 where Unicode's block begins at 2b820. */
static bool is_chinese(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= 0x3400 && c <= 0x4dbf) ||
           (c >= 0x20000 && c <= 0x2a6df) || (c >= 0x2a700 && c <= 0x2b73f) ||
           (c >= 0x2b740 && c <= 0x2b81f) || (c >= 0x2b920 && c <= 0x2ceaf) ||
           (c >= 0xf900 && c <= 0xfaff) || (c >= 0x2f800 && c <= 0x2fa1f);
}

/* The exception for c, or NULL. */
static const exception *find_exception(uint32_t c)
{
    size_t low = 0, high = sizeof exceptions / sizeof *exceptions;
    if (c < exceptions[0].first)
        return NULL;
    while (low < high) {
        const size_t mid = (low + high) / 2;
        if (c > exceptions[mid].last)
            low = mid + 1;
        else if (c < exceptions[mid].first)
            high = mid;
        else
            return &exceptions[mid];
    }
    return NULL;
}

/* The canonical combining class of what stays. */
static unsigned char order_of(uint32_t c)
{
    const size_t count = sizeof orders / sizeof *orders;
    size_t i = 0;
    if (c < orders[0].first)
        return 0;
    while (i < count && c > orders[i].last)
        i++;
    return i < count && c >= orders[i].first ? orders[i].order : 0;
}

/* ---- Building a word ---- */

/* A code point that those after it cannot pass comes: those that wait can go. */
static void settle(ef__words *w)
{
    for (size_t i = 0; i < w->waiting; i++)
        w->bytes += ef__utf8_put(w->wait[i].c, w->word + w->bytes);
    w->waiting = 0;
}

/* Behind all that wait with the same order or a lower one. */
static void hold(ef__words *w, uint32_t c, unsigned char o)
{
    size_t i = w->waiting++;
    for (; i && w->wait[i - 1].order > o; i--)
        w->wait[i] = w->wait[i - 1];
    w->wait[i].c = c;
    w->wait[i].order = o;
}

static void put(ef__words *w, uint32_t c)
{
    const unsigned char o = order_of(c);
    if (!o)
        settle(w);
    if (++w->chars > EF__WORD_CHARS)
        return;
    if (o)
        hold(w, c, o);
    else
        w->bytes += ef__utf8_put(c, w->word + w->bytes);
}

/* Letters and digits of ASCII, to the first byte that is none. */
static void put_ascii(ef__words *w)
{
    const unsigned char *p = w->at;
    const size_t room = w->chars < EF__WORD_CHARS ? EF__WORD_CHARS - w->chars : 0;
    const unsigned char *stop = p + ef__min((size_t)(w->end - p), room);
    settle(w);
    unsigned char *to = w->word + w->bytes, letter;
    for (; p < stop && (letter = fold(*p)) >= LETTERS; p++)
        *to++ = letter;
    w->bytes = (size_t)(to - w->word);
    while (p < w->end && fold(*p) >= LETTERS)
        p++;
    w->chars += (size_t)(p - w->at);
    w->at = p;
}

/* It goes, but what waits stays before what comes, if it is of class 0. */
static void drop_mark(ef__words *w, uint32_t c)
{
    if (!utf8proc_get_property((utf8proc_int32_t)c)->combining_class)
        settle(w);
}

/* A code point of a decomposition. */
static void put_part(ef__words *w, uint32_t c)
{
    if (category(c) == UTF8PROC_CATEGORY_MN)
        drop_mark(w, c);
    else
        put(w, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
}

/* Unless the word ends before it, take the code point that ends at `next`. True: the word is
 * whole. */
static bool take_wide(ef__words *w, uint32_t c, const unsigned char *next)
{
    utf8proc_int32_t part[8] = {0};
    int state = 0;
    const utf8proc_ssize_t parts =
        utf8proc_decompose_char((utf8proc_int32_t)c, part, sizeof part / sizeof *part,
                                UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &state);
    const bool alone = is_chinese(c) || is_punctuation((uint32_t)part[0]);
    if (alone && w->chars)
        return true;
    w->at = next;
    for (utf8proc_ssize_t i = 0; i < parts; i++)
        put_part(w, (uint32_t)part[i]);
    return alone;
}

static bool take_exception(ef__words *w, const exception *e, uint32_t c, const unsigned char *next)
{
    if (e->kind == PUNCT && w->chars)
        return true;
    w->at = next;
    if (e->kind == MARK)
        drop_mark(w, c);
    else if (e->kind != GONE)
        put(w, (uint32_t)((int32_t)c + e->lower));
    return e->kind == PUNCT;
}

/* What is beyond ASCII. True: the word is whole. */
static bool take(ef__words *w)
{
    const unsigned char *next = w->at;
    const uint32_t c = ef__utf8_next(&next, w->end);
    const exception *e = find_exception(c);
    if (e)
        return take_exception(w, e, c, next);
    switch (c == EF__UTF8_BAD ? UTF8PROC_CATEGORY_CC : category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
        w->at = next;
        return false;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        w->at = next;
        return w->chars > 0;
    default:
        return take_wide(w, c, next);
    }
}

void ef__words_begin(ef__words *w, const void *text, size_t bytes)
{
    w->at = text;
    w->end = w->at + bytes;
}

bool ef__words_next(ef__words *w)
{
    bool whole = false;
    w->chars = w->bytes = w->waiting = 0;
    while (!whole && w->at < w->end) {
        const unsigned char k = fold(*w->at);
        if (k >= LETTERS) {
            put_ascii(w);
        } else if (k == WIDE) {
            whole = take(w);
        } else if (k == DROP) {
            w->at++;
        } else if (k == SPACE) {
            w->at++;
            whole = w->chars > 0;
        } else {
            whole = true;
            if (!w->chars)
                put(w, *w->at++);
        }
    }
    settle(w);
    return w->chars > 0;
}
