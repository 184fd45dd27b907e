"""An index that a Milvus server keeps, or a file of milvus-lite: the same protocol as the embedded one."""
