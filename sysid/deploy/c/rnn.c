/* h(k) = s(W_ih v(k) + b_ih + W_hh h(k-1) + b_hh), of one layer. */
static void advance(int layer, const model_real *v, model_real *x)
{
    model_real a[HIDDEN], b[HIDDEN];
    model_real *h = x + layer * HIDDEN;
    int j;

    affine(w_ih[layer], b_ih[layer], v, a, layer ? HIDDEN : INPUTS, HIDDEN);
    affine(w_hh[layer], b_hh[layer], h, b, HIDDEN, HIDDEN);
    for (j = 0; j < HIDDEN; j++)
        h[j] = activate(a[j] + b[j]);
}
