/* value.h -- the options of a command as a table, and the values in it: one row is an option of the
 * command line, and a key of a configuration (cmd/config.h). */
#ifndef EF_CMD_VALUE_H
#define EF_CMD_VALUE_H

#include <energyflow.h>

typedef enum ef__option_kind {
    EF__GROUP,  /* a heading of the help */
    EF__FLAG,   /* bool: no argument */
    EF__TEXT,   /* const char * */
    EF__SIZE,   /* size_t */
    EF__U64,    /* uint64_t */
    EF__REAL,   /* float */
    EF__DOUBLE, /* double */
    EF__CHOICE, /* int: the argument's place in "a|b|c" */
    EF__SWITCH, /* int: least for "off", most for "on", anything else is neither */
    EF__LIST,   /* ef__list: sizes, separated by commas */
    EF__SET     /* no value: KEY=VALUE for any row of the table */
} ef__option_kind;

typedef struct ef__list {
    size_t count, at[EF_MAX_BLOCKS];
} ef__list;

typedef struct ef__option {
    const char *name; /* without the dashes; NULL ends the table */
    ef__option_kind kind;
    void *value;          /* holds the default when parsing begins */
    const char *argument; /* "FILE"; the words of a choice */
    double least, most;   /* of numbers, both included; most 0: what the type holds */
    const char *fallback; /* the default in words, where the value does not say it */
    const char *help;     /* NULL: not for users */
    const char *key;      /* in a configuration; NULL: the name; "": it is in none */
    bool config_only;     /* a key of configurations, no option of the command line */
} ef__option;

enum { EF__WHY = 160 };

/* ef__value_parse -- take a text as the value, whole: numbers are decimal and finite, and inside
 * the row's bounds. False: why says what is wrong, and the value is as it was. A flag's text may be
 * NULL. */
bool ef__value_parse(const ef__option *option, const char *text, char why[EF__WHY]);

/* ef__value_given -- is there a value? A number out of its row's bounds is none, nor is a text that
 * is NULL, an empty list, a switch that is neither on nor off. */
bool ef__value_given(const ef__option *option);

/* ef__value_print -- a value as ef__value_parse reads it, as short as that can be. */
void ef__value_print(const ef__option *option, char *text, size_t size);

/* ef__option_key -- of a row in a configuration; NULL: it is in none. */
const char *ef__option_key(const ef__option *option);

/* ef__option_find -- the row with that key; NULL: there is none. */
const ef__option *ef__option_find(const ef__option *table, const char *key, size_t length);

/* ef__option_nearest -- the key that is likest to one that there is not, or to an option's name. */
const char *ef__option_nearest(const ef__option *table, const char *key, size_t length);

#endif
