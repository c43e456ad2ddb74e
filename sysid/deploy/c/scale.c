/* Between physical units and the network's own. */
static void scale_in(const model_real *u, model_real *own)
{
    int i;

    for (i = 0; i < MODEL_NU; i++)
        own[i] = (u[i] - u_offset[i]) / u_scale[i];
}

static void scale_out(model_real *y)
{
    int i;

    for (i = 0; i < MODEL_NY; i++)
        y[i] = y[i] * y_scale[i] + y_offset[i];
}
