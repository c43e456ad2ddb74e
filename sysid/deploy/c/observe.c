void model_observe(model_state *s, const model_real *y)
{
    int i;

    for (i = 0; i < MODEL_NY; i++)
        if (!isnan(y[i]))
            s->x[FED_BACK + i] = own_output(y, i);
}
