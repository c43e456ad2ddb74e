/* The state, newest first and in own units: y(k-1) ... y(k-NA), u(k) ... u(k-NB). */

int model_reset(model_state *s, const model_real *u, const model_real *y, int n)
{
    int i, k, lag;

    if (n < 1 && MODEL_N_START > 0)
        return -1;
    for (i = 0; i < STATE; i++)
        s->x[i] = 0;
    for (lag = 1; lag <= NA; lag++) {
        k = lag < n ? n - lag : 0;
        for (i = 0; i < MODEL_NY; i++)
            s->x[(lag - 1) * MODEL_NY + i] = own_output(y + k * MODEL_NY, i);
    }
    for (lag = 1; lag <= NB; lag++) {
        k = lag < n ? n - lag : 0;
        scale_in(u + k * MODEL_NU, s->x + PAST + (lag - 1) * MODEL_NU);
    }
    return 0;
}

void model_step(model_state *s, const model_real *u, model_real *y)
{
    model_real phi[PHI];
    int i;

    for (i = STATE - 1; i >= PAST + MODEL_NU; i--)
        s->x[i] = s->x[i - MODEL_NU];
    scale_in(u, s->x + PAST);
    for (i = 0; i < PHI; i++)
        phi[i] = s->x[i < PAST ? i : i + NK * MODEL_NU];
    for (i = 0; i < MODEL_NY; i++)
        y[i] = 0;
    add_chain(chain0, CHAIN0, activate, phi, y);
    add_chain(chain1, CHAIN1, activate, phi, y);
    for (i = PAST - 1; i >= MODEL_NY; i--)
        s->x[i] = s->x[i - MODEL_NY];
    for (i = 0; i < MODEL_NY && i < PAST; i++)
        s->x[i] = y[i];
    scale_out(y);
}
