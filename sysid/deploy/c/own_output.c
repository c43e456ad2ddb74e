static model_real own_output(const model_real *y, int i)
{
    return (y[i] - y_offset[i]) / y_scale[i];
}
