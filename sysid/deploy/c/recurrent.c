void model_step(model_state *s, const model_real *u, model_real *y)
{
    model_real inputs[INPUTS];
    const model_real *v = inputs;
    int i, layer;

    scale_in(u, inputs);
    for (i = 0; i < FEEDBACK; i++)
        inputs[MODEL_NU + i] = s->x[FED_BACK + i];
    for (layer = 0; layer < LAYERS; layer++) {
        advance(layer, v, s->x);
        v = s->x + layer * HIDDEN;
    }
    affine(w_out, b_out, v, y, HIDDEN, MODEL_NY);
    for (i = 0; i < FEEDBACK; i++)
        s->x[FED_BACK + i] = y[i];
    scale_out(y);
}
