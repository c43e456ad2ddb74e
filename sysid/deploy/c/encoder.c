int model_reset(model_state *s, const model_real *u, const model_real *y, int n)
{
    model_real z[MODEL_N_START * (MODEL_NU + MODEL_NY)];
    int i, j, k;

    if (n < 1)
        return -1;
    for (j = 0; j < MODEL_N_START; j++) {
        k = n - MODEL_N_START + j > 0 ? n - MODEL_N_START + j : 0;
        scale_in(u + k * MODEL_NU, z + j * MODEL_NU);
        for (i = 0; i < MODEL_NY; i++)
            z[MODEL_N_START * MODEL_NU + j * MODEL_NY + i] = own_output(y + k * MODEL_NY, i);
    }
    for (i = 0; i < FED_BACK; i++)
        s->x[i] = 0;
    add_chain(encoder, ENCODER, encoder_activate, z, s->x);
    for (i = 0; i < FEEDBACK; i++)
        s->x[FED_BACK + i] = own_output(y + (n - 1) * MODEL_NY, i);
    return 0;
}
