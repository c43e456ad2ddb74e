/*
$comment
 *
 * Units are those above, in and out. C99, no heap, nothing but math.h.
 */
#ifndef MODEL_H
#define MODEL_H

#ifdef __cplusplus
extern "C" {
#endif

#define MODEL_NU $nu       /* inputs of a sample */
#define MODEL_NY $ny       /* outputs of a sample */
#define MODEL_N_START $n_start  /* measured samples that the model looks back on */

typedef $type model_real;

typedef struct {
    model_real x[$size];
} model_state;

/*
 * Start before a sample, from the n samples measured before it, oldest first:
 * u[n][MODEL_NU], y[n][MODEL_NY]. $reset
 */
int model_reset(model_state *s, const model_real *u, const model_real *y, int n);

/* Take the inputs u[MODEL_NU] of the next sample and give its outputs y[MODEL_NY]. */
void model_step(model_state *s, const model_real *u, model_real *y);
$observe
#ifdef __cplusplus
}
#endif

#endif
