/* Add to out what layers with an activation between them make of x. */
static void add_chain(const layer *chain, int depth, model_real (*between)(model_real),
                      const model_real *x, model_real *out)
{
    model_real room[2][WIDEST];
    const model_real *in = x;
    int i, k, m = 0;

    for (k = 0; k < depth; k++) {
        model_real *a = room[k % 2];
        m = chain[k].m;
        affine(chain[k].w, chain[k].b, in, a, chain[k].n, m);
        for (i = 0; i < m && k < depth - 1; i++)
            a[i] = between(a[i]);
        in = a;
    }
    for (i = 0; i < m; i++)
        out[i] += in[i];
}
