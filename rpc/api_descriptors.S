/* The descriptor set of the public .proto files, as the build made it. */
    .section .rodata
    .global api_descriptors
    .global api_descriptors_end
    .balign 16
api_descriptors:
    .incbin "api.fds"
api_descriptors_end:
    .section .note.GNU-stack,"",@progbits
