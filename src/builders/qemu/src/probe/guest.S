# The guest that shows whether an accelerator runs guests: a boot sector that enters 64-bit mode, does what stock kernels do
# early (LOCK CMPXCHG16B) and what takes long where each instruction is emulated (a loop), and writes 0x2a to isa-debug-exit.
#
#   as --64 guest.S -o guest.o && ld -m elf_x86_64 -Ttext 0x7c00 --oformat binary guest.o -o guest.bin

        .code16
        .globl  _start
_start: cli
        ljmp    $0, $1f                 # some firmware enters at 07c0:0000
1:      xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $0x7c00, %sp
        inb     $0x92, %al              # gate A20
        orb     $2, %al
        outb    %al, $0x92

        movw    $0x1000, %di            # three page tables, of which the last maps 2 MiB onto themselves
        xorl    %eax, %eax
        movw    $0xc00, %cx
        cld
        rep stosl
        movl    $0x2003, 0x1000
        movl    $0x3003, 0x2000
        movl    $0x0083, 0x3000

        movl    $0x220, %eax            # CR4: PAE, OSFXSR
        movl    %eax, %cr4
        movl    $0x1000, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx       # EFER: LME
        rdmsr
        orl     $0x100, %eax
        wrmsr
        lgdt    gdt_pointer
        movl    %cr0, %eax
        orl     $0x80000001, %eax       # CR0: PG, PE
        movl    %eax, %cr0
        ljmp    $8, $long

        .code64
long:   movl    $16, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $1, %eax
        cpuid
        testl   $0x2000, %ecx           # has it CMPXCHG16B?
        jz      2f
        movl    $0x6000, %edi
        movq    $1, (%rdi)
        movq    $2, 8(%rdi)
        movl    $1, %eax
        movl    $2, %edx
        movl    $3, %ebx
        movl    $4, %ecx
        lock cmpxchg16b (%rdi)
        jnz     9f
        cmpq    $3, (%rdi)
        jne     9f
        cmpq    $4, 8(%rdi)
        jne     9f
2:      movl    $50000000, %ecx
3:      decl    %ecx
        jnz     3b
        movb    $0x2a, %al
        outb    %al, $0xf4
9:      hlt
        jmp     9b

        .balign 8
gdt:    .quad   0
        .quad   0x00209a0000000000      # code, 64 bits
        .quad   0x0000920000000000      # data
gdt_pointer:
        .word   gdt_pointer - gdt - 1
        .long   gdt

        .org    510
        .word   0xaa55
