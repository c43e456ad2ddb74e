/* Gated recurrent unit, of one layer; the gates' order is r, z, n. */
static void advance(int layer, const model_real *v, model_real *x)
{
    model_real a[3 * HIDDEN], b[3 * HIDDEN];
    model_real *h = x + layer * HIDDEN;
    int j;

    affine(w_ih[layer], b_ih[layer], v, a, layer ? HIDDEN : INPUTS, 3 * HIDDEN);
    affine(w_hh[layer], b_hh[layer], h, b, HIDDEN, 3 * HIDDEN);
    for (j = 0; j < HIDDEN; j++) {
        model_real r = sigmoid(a[j] + b[j]);
        model_real z = sigmoid(a[HIDDEN + j] + b[HIDDEN + j]);
        model_real n = activate(a[2 * HIDDEN + j] + r * b[2 * HIDDEN + j]);
        h[j] = (1 - z) * n + z * h[j];
    }
}
