
/*
 * Tell the outputs y[MODEL_NY] that were measured at the sample of the last step: the next one
 * goes on from them. Where one is NaN the model's own stays.
 */
void model_observe(model_state *s, const model_real *y);
