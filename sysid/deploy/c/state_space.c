void model_step(model_state *s, const model_real *u, model_real *y)
{
    model_real z[STATE + MODEL_NU];
    int i;

    for (i = 0; i < STATE; i++) {
        z[i] = s->x[i];
        s->x[i] = 0;
    }
    for (i = 0; i < MODEL_NY; i++)
        y[i] = 0;
    scale_in(u, z + STATE);
    add_chain(chain0, CHAIN0, activate, z, s->x);
    add_chain(chain1, CHAIN1, activate, z, s->x);
    add_chain(chain2, CHAIN2, activate, z, y);
    add_chain(chain3, CHAIN3, activate, z, y);
    scale_out(y);
    for (i = 0; i < LIMITED; i++) {
        if (y[i] < y_low[i])
            y[i] = y_low[i];
        if (y[i] > y_high[i])
            y[i] = y_high[i];
    }
}
