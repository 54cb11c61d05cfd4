# Turns the dialect files into one source file: cmake -DOUT=FILE -DFILES="a;b" -P embed_dialects.cmake
set(rows "")
set(count 0)
foreach(file ${FILES})
  get_filename_component(name ${file} NAME_WLE)
  file(READ ${file} text)
  string(APPEND rows "    {\"${name}\", R\"dialect(${text})dialect\"},\n")
  math(EXPR count "${count} + 1")
endforeach()
file(WRITE ${OUT} "// Made by loadgen/embed_dialects.cmake from loadgen/dialects/.\n#include \"loadgen/dialect_file.h\"\n\nnamespace loadgen {\n\n\
const dialect_text_file kDialectFiles[] = {\n${rows}};\nconst size_t kDialectFileCount = ${count};\n\n}  // namespace loadgen\n")
