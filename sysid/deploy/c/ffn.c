int model_reset(model_state *s, const model_real *u, const model_real *y, int n)
{
    (void)u;
    (void)y;
    (void)n;
    s->x[0] = 0;
    return 0;
}

void model_step(model_state *s, const model_real *u, model_real *y)
{
    model_real own[MODEL_NU];
    int i;

    (void)s;
    scale_in(u, own);
    for (i = 0; i < MODEL_NY; i++)
        y[i] = 0;
    add_chain(chain0, CHAIN0, activate, own, y);
    scale_out(y);
}
