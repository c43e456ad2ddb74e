/* model INPUT.csv OUTPUT.csv [N]: simulates a file, from its first N measured samples. */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { COLUMNS = 256, LINE = 65536, MOST = 4096 };

static const char *const names[MODEL_NU + MODEL_NY] = {$names};
static char line[LINE];
static model_real u[MOST * MODEL_NU + 1], y[MOST * MODEL_NY];

/* Cut a line at its commas; return how many fields it has. */
static int split(char *text, char *fields[COLUMNS])
{
    int n = 0;

    text[strcspn(text, "\r\n")] = '\0';
    while (n < COLUMNS) {
        fields[n++] = text;
        text = strchr(text, ',');
        if (text == NULL)
            break;
        *text++ = '\0';
    }
    return n;
}

/* Find the columns by their names; outputs may be missing. */
static int find(char *fields[COLUMNS], int n, int where[MODEL_NU + MODEL_NY])
{
    int i, k;

    for (i = 0; i < MODEL_NU + MODEL_NY; i++) {
        where[i] = -1;
        for (k = 0; k < n; k++)
            if (strcmp(fields[k], names[i]) == 0)
                where[i] = k;
        if (where[i] < 0 && i < MODEL_NU) {
            fprintf(stderr, "column must be in the file, got none called %s\n", names[i]);
            return -1;
        }
    }
    return 0;
}

/* Read the next sample; an empty field is a missing value. */
static int sample(FILE *in, const int where[MODEL_NU + MODEL_NY], model_real *inputs,
                  model_real *outputs)
{
    char *fields[COLUMNS];
    int i, n;

    if (fgets(line, LINE, in) == NULL || line[0] == '\n')
        return 0;
    n = split(line, fields);
    for (i = 0; i < MODEL_NU + MODEL_NY; i++) {
        const char *text = where[i] >= 0 && where[i] < n ? fields[where[i]] : "";
        model_real value = (model_real)(*text ? strtod(text, NULL) : strtod("nan", NULL));
        if (i < MODEL_NU)
            inputs[i] = value;
        else
            outputs[i - MODEL_NU] = value;
    }
    return 1;
}

static void print(FILE *out, const model_real *row)
{
    int i;

    for (i = 0; i < MODEL_NY; i++)
        fprintf(out, i ? ",%.17g" : "%.17g", (double)row[i]);
    fputc('\n', out);
}

int main(int count, char **arguments)
{
    int where[MODEL_NU + MODEL_NY], i, k, n;
    char *fields[COLUMNS];
    model_state s;
    FILE *in, *out;

    if (count < 3) {
        fprintf(stderr, "usage: %s INPUT.csv OUTPUT.csv [N]\n", arguments[0]);
        return 2;
    }
    n = count > 3 ? atoi(arguments[3]) : MODEL_N_START;
    in = fopen(arguments[1], "r");
    out = in ? fopen(arguments[2], "w") : NULL;
    if (in == NULL || out == NULL || n < 0 || n > MOST || fgets(line, LINE, in) == NULL) {
        fprintf(stderr, "files must be there, and N at most %d\n", MOST);
        return 2;
    }
    if (find(fields, split(line, fields), where) != 0)
        return 2;
    for (i = 0; i < MODEL_NY; i++)
        fprintf(out, "%s%s", i ? "," : "", names[MODEL_NU + i]);
    fputc('\n', out);
    for (k = 0; k < n; k++) {
        if (!sample(in, where, u + k * MODEL_NU, y + k * MODEL_NY))
            break;
        print(out, y + k * MODEL_NY); /* the model starts from the measured rows */
    }
    if (k < n || model_reset(&s, u, y, n) != 0) {
        fprintf(stderr, "file must hold the measured samples to start from\n");
        return 2;
    }
    while (sample(in, where, u, y)) {
        model_step(&s, u, y);
        print(out, y);
    }
    fclose(in);
    return fclose(out) == 0 ? 0 : 1;
}
