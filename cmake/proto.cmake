# Generated from proto/: C sources by protoc-c, and the descriptor set that reflection serves.
set(proto_root ${CMAKE_SOURCE_DIR}/proto)
set(proto_out ${CMAKE_BINARY_DIR}/generated)
file(MAKE_DIRECTORY ${proto_out})
file(GLOB_RECURSE proto_files CONFIGURE_DEPENDS RELATIVE ${proto_root} ${proto_root}/*.proto)

set(proto_sources)
foreach(file ${proto_files})
    string(REGEX REPLACE "\\.proto$" ".pb-c" stem ${file})
    add_custom_command(
        OUTPUT ${proto_out}/${stem}.c ${proto_out}/${stem}.h
        COMMAND ${PROTOC_C} --proto_path=${proto_root} --c_out=${proto_out} ${file}
        DEPENDS ${proto_root}/${file} VERBATIM)
    list(APPEND proto_sources ${proto_out}/${stem}.c)
endforeach()

# The public files alone, with whatever they import, as reflection and other languages see them.
set(public_protos ${proto_files})
list(FILTER public_protos INCLUDE REGEX "^(coterie/v1|grpc)/")
list(TRANSFORM public_protos PREPEND ${proto_root}/ OUTPUT_VARIABLE public_paths)
add_custom_command(
    OUTPUT ${proto_out}/api.fds
    COMMAND ${PROTOC} --proto_path=${proto_root} --include_imports
            --descriptor_set_out=${proto_out}/api.fds ${public_protos}
    DEPENDS ${public_paths} VERBATIM)
add_custom_target(coterie_descriptors DEPENDS ${proto_out}/api.fds)

# Generated code is not held to our warnings.
add_library(coterie_proto STATIC ${proto_sources})
target_include_directories(coterie_proto SYSTEM PUBLIC ${proto_out})
target_link_libraries(coterie_proto PUBLIC protobuf-c)
target_compile_options(coterie_proto PRIVATE -w)
add_dependencies(coterie_proto coterie_descriptors)
