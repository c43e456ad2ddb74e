/* What is fed back next is a measured output; a missing one counts as the mean. */
static void feed(model_state *s, const model_real *y)
{
    int i;

    for (i = 0; i < FEEDBACK; i++)
        s->x[FED_BACK + i] = isnan(y[i]) ? 0 : own_output(y, i);
}

int model_reset(model_state *s, const model_real *u, const model_real *y, int n)
{
    model_real unused[MODEL_NY];
    int i, k;

    for (i = 0; i < FED_BACK; i++)
        s->x[i] = start[i];
    for (i = 0; i < FEEDBACK; i++)
        s->x[FED_BACK + i] = 0;
    for (k = 0; k < n; k++) {
        if (FEEDBACK > 0)
            feed(s, y + (k > 0 ? k - 1 : 0) * MODEL_NY);
        model_step(s, u + k * MODEL_NU, unused);
    }
    if (FEEDBACK > 0 && n > 0)
        feed(s, y + (n - 1) * MODEL_NY);
    return 0;
}
