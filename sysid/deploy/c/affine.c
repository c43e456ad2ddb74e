/* out = W x + b, W of m rows and n columns. */
static void affine(const model_real *w, const model_real *b, const model_real *x, model_real *out,
                   int n, int m)
{
    int i, j;

    for (j = 0; j < m; j++) {
        model_real sum = b[j];
        for (i = 0; i < n; i++)
            sum += w[j * n + i] * x[i];
        out[j] = sum;
    }
}
