/* Long short-term memory, of one layer; the gates' order is i, f, g, o. */
static void advance(int layer, const model_real *v, model_real *x)
{
    model_real a[4 * HIDDEN], b[4 * HIDDEN];
    model_real *h = x + layer * HIDDEN, *c = x + (LAYERS + layer) * HIDDEN;
    int j;

    affine(w_ih[layer], b_ih[layer], v, a, layer ? HIDDEN : INPUTS, 4 * HIDDEN);
    affine(w_hh[layer], b_hh[layer], h, b, HIDDEN, 4 * HIDDEN);
    for (j = 0; j < HIDDEN; j++) {
        model_real i = sigmoid(a[j] + b[j]);
        model_real f = sigmoid(a[HIDDEN + j] + b[HIDDEN + j]);
        model_real g = activate(a[2 * HIDDEN + j] + b[2 * HIDDEN + j]);
        model_real o = sigmoid(a[3 * HIDDEN + j] + b[3 * HIDDEN + j]);
        c[j] = f * c[j] + i * g;
        h[j] = o * activate(c[j]);
    }
}
