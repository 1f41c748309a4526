/* record.cl -- the device's error record: the first bad value of the first operation that met one.
 *
 * A checked kernel leaves the smallest bad position of its operation as the candidate; this one
 * item, enqueued right after it, enters it unless an earlier operation failed already. */
__kernel void record_check(OUT(int, record), IN(int, ids), const int code, const int sequence,
                           const int limit)
{
    __global int *record = PTR(record);
    const int position = record[RECORD_CANDIDATE];
    record[RECORD_CANDIDATE] = INT_MAX;
    if (position == INT_MAX || record[RECORD_CODE] != 0)
        return;
    record[RECORD_CODE] = code;
    record[RECORD_OP] = sequence;
    record[RECORD_POSITION] = position;
    record[RECORD_VALUE] = PTR(ids)[position];
    record[RECORD_LIMIT] = limit;
}
