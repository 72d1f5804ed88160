-- Purpose: what errors of one kind have in common: code, type and the message without its numbers and ids.
CREATE OR REPLACE FUNCTION engine_fingerprint(p_code text, p_type text, p_message text)
RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT left(md5(concat_ws(E'\x1f', p_code, p_type,
        regexp_replace(regexp_replace(
            regexp_replace(left(p_message, 2000), '[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F-]{22}', '#', 'g'),
            '\m(0x)?[0-9a-fA-F]*[0-9][0-9a-fA-F]*\M', '#', 'g'),
            '[0-9]+', '#', 'g'))), 16)
$$;
